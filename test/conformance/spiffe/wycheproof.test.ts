import { beforeAll, describe, expect, test } from 'vitest';
import { IdentityError } from '../../../core/errors.ts';
import { parseJwk } from '../../../spiffe/jwk.ts';
import { splitJws, verifyJws } from '../../../spiffe/jwt.ts';
import type { JwsAlgorithm } from '../../../spiffe/jwt.ts';
import { parsePublicKey } from '../../../spiffe/public-key.ts';
import { isSignatureValid } from '../../../spiffe/signature-algorithm.ts';
import { isJsonObject } from '../../../spiffe/strict-json.ts';
import type { JsonObject } from '../../../spiffe/strict-json.ts';
import { codeOf } from '../../support/thrown-by.ts';
import { isInstalled } from '../../support/toolchain.ts';
import { readVectors, wycheproofFolder } from './wycheproof.ts';
import type { Vector, VectorGroup } from './wycheproof.ts';

const bytes = (hex = ''): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

describe.skipIf(!isInstalled('go'))('Wycheproof vectors (needs go to fetch them)', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await wycheproofFolder();
  });

  /** The tests of a file whose outcome is not the expected one; `acceptable` may go either way. */
  function differences(file: string, accepts: (vector: Vector, group: VectorGroup) => boolean): readonly string[] {
    const groups = readVectors(folder, file);
    const tests = groups.flatMap((group) => group.tests.map((vector) => ({ vector, group })));
    expect(tests.length).toBeGreaterThan(20);
    return tests
      .filter(({ vector }) => vector.result !== 'acceptable')
      .filter(({ vector, group }) => {
        // No SPIFFE token is signed with a shared secret (JWT-SVID §2.1), so what is valid there is refused here.
        const isSymmetric = keysOf(group).some(({ kty }) => kty === 'oct');
        return accepts(vector, group) !== (vector.result === 'valid' && !isSymmetric);
      })
      .map(
        ({ vector, group }) =>
          `${group.comment ?? ''} ${vector.tcId}: ${vector.comment} (${vector.flags.join()}) is ${vector.result}`,
      );
  }

  test.each([
    ['ecdsa_secp256r1_sha256_test.json', 'ecdsa-with-SHA256'],
    ['ecdsa_secp256r1_sha512_test.json', 'ecdsa-with-SHA512'],
    ['ecdsa_secp384r1_sha384_test.json', 'ecdsa-with-SHA384'],
    ['ecdsa_secp521r1_sha512_test.json', 'ecdsa-with-SHA512'],
    ['rsa_signature_2048_sha256_test.json', 'sha256WithRSAEncryption'],
    ['rsa_signature_3072_sha512_test.json', 'sha512WithRSAEncryption'],
    ['rsa_pss_2048_sha256_mgf1_32_test.json', 'rsassa-pss-sha256'],
    ['rsa_pss_2048_sha384_mgf1_48_test.json', 'rsassa-pss-sha384'],
  ])('signatures of certificates and CSRs: %s', (file, signatureAlgorithm) => {
    const accepts = (vector: Vector, group: VectorGroup): boolean => {
      const info = parsePublicKey(bytes(group.publicKeyDer));
      const signed = { signatureAlgorithm, signedPart: bytes(vector.msg), signature: bytes(vector.sig) };
      return isSignatureValid(signed, info.kind, () => info.keyObject());
    };
    expect(differences(file, accepts)).toEqual([]);
  });

  test.each([
    ['ecdsa_secp256r1_sha256_p1363_test.json', 'ES256'],
    ['ecdsa_secp384r1_sha384_p1363_test.json', 'ES384'],
    ['ecdsa_secp521r1_sha512_p1363_test.json', 'ES512'],
  ] as const)('signatures of tokens: %s', (file, algorithm: JwsAlgorithm) => {
    const accepts = (vector: Vector, group: VectorGroup): boolean => {
      const key = parsePublicKey(bytes(group.publicKeyDer)).keyObject();
      const signedPart = Buffer.from(vector.msg ?? '', 'hex').toString('latin1');
      return codeOf(() => verifyJws({ algorithm, signedPart, signature: bytes(vector.sig) }, key)) === undefined;
    };
    expect(differences(file, accepts)).toEqual([]);
  });

  test('[JWT-SVID §2.1] whole tokens: json_web_signature_test.json', () => {
    const found = differences('json_web_signature_test.json', isTokenAccepted);
    // A SPIFFE bundle binds a key to an SVID type by `use`, and to no algorithm or operation: `alg` and `key_ops` of a JWK say nothing.
    const known = /^ps512 \d+: Using(RS256|RS384|RS512|PS256|PS384) |^(rsa|ec_key_for)_encryption \d+: rejectWrongKeyOps /;
    expect(found.filter((each) => !known.test(each))).toEqual([]);
    expect(found).toHaveLength(7);
  });

  test('[Trust Domain and Bundle §4.2] keys: json_web_key_test.json', () => {
    const found = differences('json_web_key_test.json', isTokenAccepted);
    // As above for `alg`; keys of one vendor's flawed generator (ROCA) are not looked for.
    const known = /: (mismatchedAlgAndCurve|rejectsKeyWithRocaVulnerability) /;
    expect(found.filter((each) => !known.test(each))).toEqual([]);
    expect(found).toHaveLength(3);
  });
});

/** The keys of a group; symmetric ones make every token of the group one that must be refused here. */
function keysOf({ public: publicKey, private: privateKey }: VectorGroup): readonly JsonObject[] {
  const jwk = publicKey ?? privateKey ?? {};
  return Array.isArray(jwk['keys']) ? jwk['keys'].filter(isJsonObject) : [jwk];
}

/** As validation does it: the key from a JWK set, by `kid` and `use`, then the token. */
function isTokenAccepted(vector: Vector, group: VectorGroup): boolean {
  const validate = (): void => {
    const jws = splitJws(vector.jws ?? '');
    const jwk = keysOf(group).find(({ kid, use = 'sig' }) => use === 'sig' && (jws.keyId === undefined || kid === jws.keyId));
    const info = jwk === undefined ? undefined : parseJwk(jwk, 'key');
    if (info === undefined) throw new IdentityError('unauthenticated', 'no key');
    verifyJws(jws, info.keyObject());
  };
  return codeOf(validate) === undefined;
}
