import { describe, expect, test } from 'vitest';
import { decode, DecodeError } from '../../../core/decode.ts';
import { jwtClaims } from '../../../crds/jwt-claims.ts';

const read = (input: unknown) => decode(jwtClaims.decoder, input);

/** A claim whose value is that many lists within each other. */
function nested(levels: number): unknown {
  return { deep: Array.from({ length: levels }).reduce((inner) => [inner], 'x') };
}

function faultsOf(input: unknown): string[] {
  try {
    read(input);
    return [];
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return error.faults.map(({ path }) => path);
  }
}

describe('custom claims', () => {
  test('are any JSON', () => {
    const claims = { a: 'b', c: [1, null, { d: true }], '': '', sub2: -0.5 };
    expect(read(claims)).toEqual(claims);
    expect(read(JSON.parse('{"__proto__": {"admin": true}}'))).toHaveProperty(['__proto__'], { admin: true });
  });

  test("are never the CA's own", () => {
    expect(faultsOf({ iss: 'x', SUB: 'x', aud: ['x'], exp: 0 })).toEqual(['iss', 'aud', 'exp']);
  });

  test('a null in the place of a registered one is as if it were absent, as the API server has it', () => {
    expect(read({ iss: null, team: null })).toEqual({ team: null });
  });

  test('are nested 16 levels deep at most', () => {
    expect(faultsOf(nested(16))).toEqual([]);
    expect(faultsOf(nested(17))).toEqual([`deep${'[0]'.repeat(16)}`]);
    expect(faultsOf(nested(100_000))).toEqual([`deep${'[0]'.repeat(16)}`]);
  });

  test('are nothing that YAML has and JSON has not', () => {
    expect(faultsOf({ a: Infinity, b: { c: [1n] }, d: undefined })).toEqual(['a', 'b.c[0]', 'd']);
  });
});
