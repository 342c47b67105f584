import { globTest } from './match/glob.ts';
import type { Policy } from './policy.ts';
import type { RuleSpec } from './resources/policy-spec.ts';

/**
 * Whether everything that a rule of one policy matches is matched by a rule of another, judged by how they are written: `true` is
 * certain, `false` says nothing. Texts with `*` cover what they match.
 */
export function ruleCovers(wide: RuleSpec, narrow: RuleSpec): boolean {
  if (wide.when !== undefined && wide.when !== narrow.when) return false;
  if (wide.relations !== undefined && !same(wide.relations, narrow.relations)) return false;
  return anyCovers(wide.from, narrow.from) && anyCovers(wide.to, narrow.to);
}

type Fields = Readonly<Record<string, unknown>>;

/** Each clause of the narrow list is covered by one of the wide list; no list is every caller, or every operation. */
function anyCovers(wide: readonly Fields[] | undefined, narrow: readonly Fields[] | undefined): boolean {
  if (wide === undefined) return true;
  return narrow !== undefined && narrow.every((clause) => wide.some((each) => clauseCovers(each, clause)));
}

function clauseCovers(wide: Fields, narrow: Fields): boolean {
  return Object.entries(wide).every(([name, value]) => {
    if (value === undefined) return true;
    const other = narrow[name];
    // What is excluded, and headers, of which all must hold, are covered only by the same.
    if (name === 'not' || name === 'headers') return same(value, other);
    return Array.isArray(value) && Array.isArray(other) && other.every((item) => value.some((each) => itemCovers(each, item)));
  });
}

function itemCovers(wide: unknown, narrow: unknown): boolean {
  if (same(wide, narrow)) return true;
  // `*` stays within a segment of a SPIFFE ID, and `spiffe://…/**` spans them: only plain patterns are compared.
  if (typeof wide !== 'string' || typeof narrow !== 'string' || wide.startsWith('spiffe:')) return false;
  return wide.includes('*') && !narrow.includes('*') && globTest(wide)(narrow);
}

/** Whether each destination that one policy selects is selected by another. */
export function targetCovers(wide: Policy, narrow: Policy): boolean {
  const [one, other] = [targetOf(wide), targetOf(narrow)];
  if (wide.name.kind === 'AuthorizationPolicy' && wide.name.namespace !== narrow.name.namespace) return false;
  return Object.entries(one).every(([name, value]) => value === undefined || same(value, other[name]));
}

function targetOf({ selector, attested, targetRefs, namespaceSelector, spiffeIDs }: Policy): Fields {
  return { selector, attested, targetRefs, namespaceSelector, spiffeIDs };
}

function same(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  return typeof one === 'object' && typeof other === 'object' && JSON.stringify(one) === JSON.stringify(other);
}
