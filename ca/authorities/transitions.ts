import { IdentityError } from '../../core/errors.ts';
import type { Authority } from '../model.ts';
import type { LocalAuthority } from './local-authority.ts';

// Codes as SPIRE's localauthority.v1 answers them; that some are `internal` is part of the contract.

/** What is known of the authority that an administrator names. */
export interface Named {
  readonly id: string;
  /** Among this replica's own, whatever its status. */
  readonly local: LocalAuthority | undefined;
}

/** @throws IdentityError unless the authority may be activated: `invalid_argument`, `internal` */
export function checkActivation({ id, local }: Named): LocalAuthority {
  requireId(id);
  if (local === undefined) throw refused('unexpected authority ID: it is not the prepared one of this CA');
  if (local.status === 'active') throw refused('unexpected authority ID: it is active already');
  if (local.status === 'old') throw new IdentityError('internal', 'only prepared authorities can be activated: this one is old');
  return local;
}

/** @throws IdentityError unless the authority may be tainted: `invalid_argument`, `internal` */
export function checkTainting({ id, local }: Named): LocalAuthority {
  requireId(id);
  if (local?.status === 'active') throw refused('unable to taint the current authority: activate another one first');
  if (local === undefined) throw refused('unexpected authority ID: it is none of this CA');
  if (local.status === 'prepared') throw refused('only old authorities can be tainted: this one is prepared');
  // One whose taint did not reach the bundle is tainted again, so that trying again helps.
  if (local.tainted && local.publishedAtMs !== undefined)
    throw new IdentityError('internal', 'failed to taint: it is already tainted');
  return local;
}

/**
 * What is to be revoked: one of this replica's own, or, for tokens, any in the bundle.
 *
 * @throws IdentityError unless the authority may be revoked: `invalid_argument`, `internal`
 */
export function checkRevocation(named: Named & { readonly published: Authority | undefined }): LocalAuthority | Authority {
  requireId(named.id);
  if (named.local?.status === 'active')
    throw refused('unable to use the current authority: activate another one, then taint this');
  if (named.local?.status === 'prepared') throw refused('unable to use a prepared authority: only old ones can be revoked');
  const found = named.local ?? named.published;
  if (found === undefined) throw refused('only old authorities can be revoked: none of this ID is known');
  if (!found.tainted)
    throw new IdentityError('internal', 'failed to revoke: it is not possible to revoke an untainted authority');
  return found;
}

/**
 * The subject key identifier of an upstream authority, in lower case.
 *
 * @throws IdentityError `invalid_argument` unless it signed an old authority of this CA, and neither the active nor the prepared one
 */
export function checkUpstream(subjectKeyId: string, authorities: readonly LocalAuthority[]): string {
  if (subjectKeyId === '') throw refused('no subject key ID provided');
  const id = subjectKeyId.toLowerCase();
  const signed = authorities.filter((each) => each.upstreamSubjectKeyId === id).map(({ status }) => status);
  if (signed.includes('active')) throw refused('unable to use the upstream authority that signed the current authority');
  if (signed.includes('prepared')) throw refused('only upstream authorities that signed an old authority can be used');
  if (signed.length === 0) throw refused('the upstream authority did not sign an old authority');
  return id;
}

function requireId(id: string): void {
  if (id === '') throw refused('no authority ID provided');
}

function refused(message: string): IdentityError {
  return new IdentityError('invalid_argument', message);
}
