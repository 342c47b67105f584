import { map, record, refine } from '../core/decode.ts';
import { json } from '../policy/schema/json.ts';
import type { Json } from '../policy/schema/json.ts';
import type { Schema } from '../policy/schema/schema.ts';

/** Custom claims of JWT-SVIDs. */
export type JwtClaims = Readonly<Record<string, Json>>;

/** The claims that nobody but the CA sets: those of RFC 7519 §4.1, and those that bind a token to a key or an actor. */
export const REGISTERED_CLAIMS = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'cnf', 'act'] as const;

const MAX_CLAIMS = 64;

const registered: ReadonlySet<string> = new Set(REGISTERED_CLAIMS);

function refused(claim: string): string {
  return `the claim "${claim}" is the CA's to set`;
}

// The API server takes a null for an absent field wherever its schema names the field.
function withoutAbsent(claims: JwtClaims): JwtClaims {
  return Object.fromEntries(Object.entries(claims).filter(([claim, value]) => value !== null || !registered.has(claim)));
}

/** Custom claims: any JSON but the registered claims. */
export const jwtClaims: Schema<JwtClaims> = {
  openApi: {
    type: 'object',
    maxProperties: MAX_CLAIMS,
    'x-kubernetes-preserve-unknown-fields': true,
    // CEL sees declared properties only.
    properties: Object.fromEntries(
      REGISTERED_CLAIMS.map((claim) => [claim, { type: 'string', description: "Refused: the CA's to set." }]),
    ),
    'x-kubernetes-validations': REGISTERED_CLAIMS.map((claim) => ({
      rule: `!has(self.${claim})`,
      message: refused(claim),
      fieldPath: `.${claim}`,
    })),
  },
  decoder: refine(map(record(json), withoutAbsent), (claims) => [
    ...Object.keys(claims)
      .filter((claim) => registered.has(claim))
      .map((claim) => ({ path: claim, message: refused(claim) })),
    ...(Object.keys(claims).length > MAX_CLAIMS ? [{ path: '', message: `must not have more than ${MAX_CLAIMS} claims` }] : []),
  ]),
};
