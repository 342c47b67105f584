import { array, boolean, decode, integer, literal, map, object, optional, string } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { readPrivateFile, writePrivateFile } from '../../runtime/private-file.ts';
import { AUTHORITY_KINDS } from './authority.ts';
import type { LocalAuthority } from './local-authority.ts';

/** What a replica remembers of its authorities. No private key is in it. */
export interface ReplicaState {
  /** Names this replica in published authorities. */
  readonly replicaId: string;
  readonly authorities: readonly LocalAuthority[];
}

const bytes = map(string(), (text) => new Uint8Array(Buffer.from(text, 'base64')));

const stateSchema = object({
  version: integer({ min: 1, max: 1 }),
  replicaId: string(),
  authorities: array(
    object({
      kind: literal(...AUTHORITY_KINDS),
      id: string(),
      status: literal('prepared', 'active', 'old'),
      keyId: string(),
      certificates: array(bytes),
      published: array(object({ id: string(), publicBytes: bytes, expiresAtMs: integer() })),
      issuedAtMs: integer(),
      expiresAtMs: integer(),
      publishedAtMs: optional(integer()),
      tainted: boolean,
      revoked: boolean,
      upstreamSubjectKeyId: string({ allowEmpty: true }),
    }),
  ),
});

/** Reads the state; undefined when there is none yet. @throws IdentityError `failed_precondition` when it cannot be understood */
export async function readState(file: string): Promise<ReplicaState | undefined> {
  const text = await readPrivateFile(file);
  if (text === undefined) return undefined;
  try {
    return decode(stateSchema, JSON.parse(text));
  } catch (cause) {
    const message = `${file} is damaged; restore it from a backup, or remove it so that new authorities are made`;
    throw new IdentityError('failed_precondition', message, { cause });
  }
}

/** Replaces the state; a crash leaves the old one or the new. @throws IdentityError `unavailable` */
export function writeState(file: string, state: ReplicaState): Promise<void> {
  const base64 = (content: Uint8Array): string => Buffer.from(content).toString('base64');
  const authorities = state.authorities.map((authority) => ({
    ...authority,
    certificates: authority.certificates.map(base64),
    published: authority.published.map((part) => ({ ...part, publicBytes: base64(part.publicBytes) })),
  }));
  return writePrivateFile(file, `${JSON.stringify({ version: 1, replicaId: state.replicaId, authorities }, undefined, 2)}\n`);
}
