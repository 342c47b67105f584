import { IdentityError } from '../../core/errors.ts';
import { isJsonObject } from '../../spiffe/strict-json.ts';
import type { Actor } from '../model.ts';

/** How many services a token may have passed through. */
export const MAX_ACTORS = 5;

/**
 * The chain of callers in a token (`act`, RFC 8693 §4.1), outermost first.
 *
 * @throws IdentityError `unauthenticated` when it is no such chain, or deeper than {@link MAX_ACTORS}
 */
export function actorsOf(act: unknown): readonly Actor[] {
  const actors: Actor[] = [];
  for (let link = act; link !== undefined; link = link['act']) {
    if (!isJsonObject(link)) throw chainFault('is no JSON object');
    const { sub, iss } = link;
    if (typeof sub !== 'string' || sub === '') throw chainFault('does not say who acted');
    if (iss !== undefined && typeof iss !== 'string') throw chainFault('has an issuer that is no text');
    if (actors.length === MAX_ACTORS) throw chainFault(`is deeper than ${MAX_ACTORS}`);
    actors.push({ subject: sub, ...(iss === undefined ? {} : { issuer: iss }) });
  }
  return actors;
}

function chainFault(message: string): IdentityError {
  return new IdentityError('unauthenticated', `the token's chain of callers (act) ${message}`);
}
