import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const MODULE = 'github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a';

/** One test of a vector file; which of the fields it has goes by the file. */
export interface Vector {
  readonly tcId: number;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly result: 'valid' | 'invalid' | 'acceptable';
  /** Hexadecimal. */
  readonly msg?: string;
  /** Hexadecimal. */
  readonly sig?: string;
  readonly jws?: string;
}

/** Tests that share a key. */
export interface VectorGroup {
  readonly comment?: string;
  /** Hexadecimal SubjectPublicKeyInfo. */
  readonly publicKeyDer?: string;
  readonly public?: Readonly<Record<string, unknown>>;
  readonly private?: Readonly<Record<string, unknown>>;
  readonly tests: readonly Vector[];
}

/** The folder of the vectors in Go's module cache; fetched there on first use, never copied. */
export async function wycheproofFolder(): Promise<string> {
  const { stdout } = await promisify(execFile)('go', ['mod', 'download', '-json', MODULE]);
  // The cast is sound: `go help mod download` describes the shape.
  const { Dir: folder } = JSON.parse(stdout) as { readonly Dir: string };
  return join(folder, 'testvectors_v1');
}

/** The groups of one vector file. */
export function readVectors(folder: string, file: string): readonly VectorGroup[] {
  // The cast is sound for the schemas of the pinned version; a field that is missing makes its test fail.
  const { testGroups } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as { readonly testGroups: readonly VectorGroup[] };
  return testGroups;
}
