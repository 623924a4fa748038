import { toBase64Url } from "./base64url";

/** Mirrors core/session/proof.py. Sources: RFC 9449 (DPoP), RFC 7518 section 3.4 (ES256). */

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNATURE = { name: "ECDSA", hash: "SHA-256" } as const;
const ID_SIZE_BYTES = 12;

/** The public half of a key, as the origin is told it. */
export interface PublicJwk {
  readonly kty: "EC";
  readonly crv: "P-256";
  readonly x: string;
  readonly y: string;
}

/**
 * This page's key. Tickets are bound to it, and each use of one is proved with it, so that a stolen ticket opens nothing.
 * The private half cannot leave the browser.
 */
export class ProofKey {
  readonly jwk: PublicJwk;
  readonly #pair: CryptoKeyPair;
  /** How far the origin's clock is ahead of ours. */
  #aheadS = 0;

  private constructor(pair: CryptoKeyPair, jwk: PublicJwk) {
    this.#pair = pair;
    this.jwk = jwk;
  }

  /** A fresh key; null where the browser gives none (a page that was not loaded over a secure connection). */
  static async generate(): Promise<ProofKey | null> {
    const subtle = (globalThis.crypto as Crypto | undefined)?.subtle;
    if (subtle === undefined) return null;
    try {
      const pair = await subtle.generateKey(ALGORITHM, false, ["sign", "verify"]);
      const { x = "", y = "" } = await subtle.exportKey("jwk", pair.publicKey);
      return new ProofKey(pair, { kty: "EC", crv: "P-256", x, y });
    } catch (error) {
      console.warn("visavis: no key could be made, tickets are not bound to this page", error);
      return null;
    }
  }

  /** The origin has just said what time it is there, in seconds since 1970. */
  setClock(issuedAtS: number): void {
    this.#aheadS = issuedAtS - Math.floor(Date.now() / 1_000);
  }

  /**
   * Prove one request.
   *
   * @param url of the request; query and fragment are left out.
   * @param token what it goes with; "" for none.
   */
  async prove(method: "POST" | "PATCH" | "CONNECT", url: string, token: string): Promise<string> {
    const header = { typ: "dpop+jwt", alg: "ES256", jwk: this.jwk };
    const claims = {
      htm: method,
      htu: url.split(/[?#]/, 1)[0],
      iat: Math.floor(Date.now() / 1_000) + this.#aheadS,
      jti: toBase64Url(crypto.getRandomValues(new Uint8Array(ID_SIZE_BYTES))),
      ...(token === "" ? {} : { ath: toBase64Url(await crypto.subtle.digest("SHA-256", bytes(token))) }),
    };
    const signed = [header, claims].map((part) => toBase64Url(bytes(JSON.stringify(part)))).join(".");
    const signature = await crypto.subtle.sign(SIGNATURE, this.#pair.privateKey, bytes(signed));
    return `${signed}.${toBase64Url(signature)}`;
  }
}

function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
