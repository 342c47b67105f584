/** Whether a name is, or looks like, a SPIFFE ID: only an issuer of this trust domain may say such a name. Schemes have no case (RFC 3986 §3.1). */
export function isSpiffeScheme(name: string): boolean {
  return /^\s*spiffe:/i.test(name);
}
