// Values of SPIRE's kinds. Its own CRDs bound nothing and take an empty text for an absent one, so these do too; what its
// controller manager refuses later, such as a SPIFFE ID that is none, is a fault here already.
import { IdentityError } from '../../core/errors.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { list } from '../../policy/schema/collections.ts';
import { text } from '../../policy/schema/scalars.ts';
import { converted } from '../../policy/schema/schema.ts';
import type { EntrySelector } from '../static-declaration.ts';
import { entrySelectorOf } from '../static-identity.ts';
import { parseGoDuration } from './go-duration.ts';

/** Group and version of SPIRE's kinds. */
export const SPIRE_API = { group: 'spire.spiffe.io', version: 'v1alpha1', namespaced: false } as const;

/** Any text. */
export const anyText = text({ allowEmpty: true });

/** Text that is not empty. */
export const someText = text({});

/** Any texts. */
export const anyTexts = list(anyText);

/** A lifetime; zero is none. */
export const goDuration = converted(someText, parseGoDuration);

/** Trust domains, each named, or meant by a SPIFFE ID in it. */
export const trustDomains = list(converted(someText, trustDomainOf));

/** A SPIFFE ID. */
export const spiffeId = converted(someText, (value) => parseSpiffeId(value));

/** Selectors, each `type:value`. */
export const selectors = list(converted(someText, selectorOf));

/** The trust domain that a text names, or that the SPIFFE ID in it is of. */
export function trustDomainOf(value: string): TrustDomain {
  return value.includes(':/') ? parseSpiffeId(value).trustDomain : parseTrustDomain(value);
}

function selectorOf(written: string): EntrySelector {
  const selector = entrySelectorOf(written);
  if (written.includes(':') && selector.type !== '' && selector.value !== '') return selector;
  throw new IdentityError('invalid_argument', 'must be a selector "type:value", such as unix:uid:1000');
}
