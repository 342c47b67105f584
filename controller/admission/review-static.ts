import type { StaticDeclaration } from '../../crds/static-declaration.ts';
import { declarationKey, precedenceOf } from '../identity/declaration-store.ts';
import { comparePrecedence } from '../identity/precedence.ts';
import { staticEntry } from '../identity/static-entry.ts';
import { refText, type DesiredEntry, type Problem } from '../ports.ts';
import { faultsOf, type Findings } from './findings.ts';
import { federationWarnings, NOT_SYNCED, type ReviewContext } from './review-context.ts';

/** What is wrong with an entry that is declared as it stands. */
export function reviewStatic(declaration: StaticDeclaration, context: ReviewContext): Findings {
  const warnings = federationWarnings(declaration.federatesWith, context);
  try {
    const entry = staticEntry(declaration, context.settings);
    if (!context.synced()) return { faults: [], warnings: [...warnings, NOT_SYNCED] };
    const rivalry = rivalryOf(declaration, entry, context);
    if (rivalry?.reason === 'IDReserved') return { faults: [{ field: 'spec.spiffeID', message: rivalry.message }], warnings };
    if (rivalry?.reason === 'Displaces') return { faults: [], warnings: [...warnings, rivalry.message] };
    return { faults: [], warnings: [...warnings, ...rivalWarnings(declaration, entry, context)] };
  } catch (error) {
    return { faults: faultsOf(error), warnings };
  }
}

function rivalryOf(declaration: StaticDeclaration, entry: DesiredEntry, context: ReviewContext): Problem | undefined {
  const precedence = precedenceOf(declaration);
  return context.rivalryOf({ entry, declarer: { key: declarationKey(precedence), precedence }, pod: '' });
}

/** Says which other object declares the same entry, and which of the two holds. */
function rivalWarnings(
  declaration: StaticDeclaration,
  { key, spiffeId }: DesiredEntry,
  context: ReviewContext,
): readonly string[] {
  const own = precedenceOf(declaration);
  const holder = context.holderOf(key);
  if (holder === undefined || declarationKey(holder) === declarationKey(own)) return [];
  const isOlder = comparePrecedence(holder, own) < 0;
  const holds = isOlder ? 'it is older, so its settings hold' : 'it is younger, so the settings here hold';
  return [`${refText(holder)} declares the same entry (${spiffeId}); ${holds}`];
}
