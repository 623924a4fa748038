/** base64url without padding (RFC 4648 section 5). */
export function toBase64Url(data: ArrayBuffer | Uint8Array): string {
  const text = String.fromCharCode(...new Uint8Array(data));
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
