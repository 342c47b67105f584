import type { FederationDeclaration } from '../../crds/federation-declaration.ts';
import { FederationIndex } from '../federation/federation-index.ts';
import { declarationKey, precedenceOf } from '../identity/declaration-store.ts';
import { comparePrecedence } from '../identity/precedence.ts';
import { refText } from '../ports.ts';
import { faultsIn, type Findings } from './findings.ts';
import { NOT_SYNCED, type ReviewContext } from './review-context.ts';

/** What is wrong with a trust domain to federate with. */
export function reviewFederation(declaration: FederationDeclaration, context: ReviewContext): Findings {
  const faults = faultsIn(() => new FederationIndex(context.settings.trustDomain).put(declaration));
  return { faults, warnings: context.synced() ? rivalWarnings(declaration, context) : [NOT_SYNCED] };
}

function rivalWarnings(declaration: FederationDeclaration, context: ReviewContext): readonly string[] {
  const own = precedenceOf(declaration);
  const { name } = declaration.trustDomain;
  const holder = context.federationOf(name);
  if (holder === undefined || declarationKey(holder) === declarationKey(own)) return [];
  const isOlder = comparePrecedence(holder, own) < 0;
  const holds = isOlder ? 'it is older, so its settings hold' : 'it is younger, so the settings here hold';
  return [`${refText(holder)} declares the trust domain ${name} as well; ${holds}`];
}
