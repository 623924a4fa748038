import { afterEach, describe, expect, it, vi } from "vitest";
import { ProofKey } from "./proofKey";

const decode = (part: string): unknown => JSON.parse(Buffer.from(part, "base64url").toString("utf8"));

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("ProofKey", () => {
  it("proves one request with one token, by the origin's clock", async () => {
    const key = (await ProofKey.generate())!;
    const nowS = Math.floor(Date.now() / 1_000);
    key.setClock(nowS + 500);
    const proof = await key.prove("POST", "http://pop/v1/x?y=1#z", "token");
    const [header, claims, signature] = proof.split(".") as [string, string, string];
    expect(decode(header)).toEqual({ typ: "dpop+jwt", alg: "ES256", jwk: key.jwk });
    const said = decode(claims) as { iat: number; jti: string; ath: string };
    expect(said).toMatchObject({ htm: "POST", htu: "http://pop/v1/x" });
    expect(said.iat - nowS - 500).toBeLessThanOrEqual(1);
    expect(said.jti).toMatch(/^[\w-]{16}$/);
    expect(said.ath).toBe("PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A");
    const publicKey = await crypto.subtle.importKey("jwk", key.jwk, { name: "ECDSA", namedCurve: "P-256" }, true, [
      "verify",
    ]);
    const good = await crypto.subtle.verify(
      { name: "ECDSA", hash: "SHA-256" },
      publicKey,
      Buffer.from(signature, "base64url"),
      new TextEncoder().encode(`${header}.${claims}`),
    );
    expect(good).toBe(true);
    const other = await key.prove("POST", "http://pop/v1/x", "");
    expect(decode(other.split(".")[1]!)).not.toHaveProperty("ath");
    expect((decode(other.split(".")[1]!) as { jti: string }).jti).not.toBe(said.jti);
  });

  it("is there only where the browser makes keys", async () => {
    vi.stubGlobal("crypto", {});
    expect(await ProofKey.generate()).toBeNull();
  });
});
