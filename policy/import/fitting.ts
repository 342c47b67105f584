// Foreign policies may be larger than one of ours: they become several clauses, rules and policies that mean the same.
import { compileRegex } from '../expressions/re2.ts';
import { checkedPolicy } from './foreign.ts';
import type { Lose } from './foreign.ts';

/** A policy of ours as an importer made it, of any size. */
export interface DraftedPolicy {
  /** The foreign resource that it was made of. */
  readonly title: string;
  readonly resource: PolicyDraft;
  readonly lose: Lose;
}

/** A resource whose lists may be longer than ours can be. */
export interface PolicyDraft {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: { readonly action: string; readonly rules: readonly RuleDraft[] };
}

type Fields = Readonly<Record<string, unknown>>;
type Clause = Fields & { readonly not?: Fields };

/** Who calls and what for; clauses as ours, their lists of any length. */
export interface RuleDraft {
  readonly from?: readonly object[];
  readonly to?: readonly object[];
}

const MOST_RULES = 64;
const MOST_CLAUSES = 16;
const MOST_VALUES = 64;
/** Lists that are shorter than the others. */
const MOST: Readonly<Record<string, number>> = { headers: 16, users: 16, grpc: 32 };
const MAX_NAME = 253;

/**
 * What our own parser reads: lists that are too long are divided, and so are policies, whose further parts get a number behind their
 * name, none of those that are `taken`. What cannot be divided, or is too long by itself, is lost: an ALLOW loses the clause, any other the field.
 *
 * @throws IdentityError `invalid_argument` that names the foreign resource, for what our parser does not read even so
 */
export function fitted(
  drafts: readonly DraftedPolicy[],
  taken = new Set(drafts.map(({ resource }) => draftKey(resource))),
): readonly object[] {
  return drafts.flatMap(({ title, resource, lose }) => {
    const { spec } = resource;
    const rules = spec.rules.flatMap((rule, index) =>
      new RuleFitting(`our rules[${index}]`, spec.action === 'ALLOW', lose).rulesOf(rule),
    );
    const parts = rules.length === 0 ? [[]] : inParts(rules, MOST_RULES);
    return parts.map((own, index) =>
      checkedPolicy(title, { ...(index === 0 ? resource : renamed(resource, taken)), spec: { ...spec, rules: own } }),
    );
  });
}

/** One text for each policy. */
export function draftKey({ kind, metadata: { name, namespace = '' } }: Pick<PolicyDraft, 'kind' | 'metadata'>): string {
  return `${kind}/${namespace}/${name}`;
}

function renamed(resource: PolicyDraft, taken: Set<string>): PolicyDraft {
  for (let number = 2; ; number += 1) {
    const ending = `-${number}`;
    const name = `${resource.metadata.name.slice(0, MAX_NAME - ending.length)}${ending}`;
    const next = { ...resource, metadata: { ...resource.metadata, name } };
    if (taken.has(draftKey(next))) continue;
    taken.add(draftKey(next));
    return next;
  }
}

/** Makes one rule fit. */
class RuleFitting {
  readonly #place: string;
  readonly #isAllow: boolean;
  readonly #lose: Lose;

  constructor(place: string, isAllow: boolean, lose: Lose) {
    this.#place = place;
    this.#isAllow = isAllow;
    this.#lose = lose;
  }

  /** As many as it takes; none where an ALLOW lost all clauses of a list. */
  rulesOf({ from, to }: RuleDraft): readonly object[] {
    const [callers, operations] = [this.#listOf('from', from), this.#listOf('to', to)];
    return callers.flatMap((one) => operations.map((other) => ({ ...one, ...other })));
  }

  #listOf(name: string, clauses: readonly object[] | undefined): readonly object[] {
    if (clauses === undefined) return [{}];
    // The cast is sound for what is read of it: any object has fields of any kind.
    const fit = clauses.flatMap((clause, index) => this.#clausesOf(clause as Clause, `${this.#place}.${name}[${index}]`));
    // A clause without fields is about everything; so is a list with one.
    if (fit.some((clause) => Object.keys(clause).length === 0)) return [{}];
    return inParts(fit, MOST_CLAUSES).map((own) => ({ [name]: own }));
  }

  #clausesOf({ not, ...positive }: Clause, place: string): readonly object[] {
    let clauses: readonly Fields[] = [{}];
    for (const [field, value] of Object.entries(positive)) {
      const parts =
        field === 'headers' ? this.#together(value, `${place}.headers`) : this.#alternatives(value, `${place}.${field}`);
      clauses = clauses.flatMap((clause) => parts.map((part) => (part === undefined ? clause : { ...clause, [field]: part })));
    }
    if (not === undefined) return clauses;
    const excluded: Record<string, unknown> = {};
    for (const [field, value] of Object.entries(not)) {
      const parts = this.#together(value, `${place}.not.${field}`);
      if (parts.length === 0) return [];
      if (parts[0] !== undefined) excluded[field] = parts[0];
    }
    return Object.keys(excluded).length === 0 ? clauses : clauses.map((clause) => ({ ...clause, not: excluded }));
  }

  /** Values of which any may hold, in parts; undefined: the field is lost. None: the clause is. */
  #alternatives(value: unknown, place: string): readonly (readonly unknown[] | undefined)[] {
    const all: readonly unknown[] = Array.isArray(value) ? value : [value];
    const usable = all.filter(isUsable);
    if (usable.length === all.length) return inParts(all, mostOf(place));
    if (!this.#isAllow) return this.#lost(place, 'denies more', TOO_LARGE);
    if (usable.length === 0) return this.#lost(place, 'rule dropped', TOO_LARGE);
    this.#lose(place, 'value dropped', TOO_LARGE);
    return inParts(usable, mostOf(place));
  }

  /** Values that hold, or are excluded, together: they cannot be divided. */
  #together(value: unknown, place: string): readonly (readonly unknown[] | undefined)[] {
    const all: readonly unknown[] = Array.isArray(value) ? value : [value];
    const usable = all.filter(isUsable).slice(0, mostOf(place));
    if (usable.length === all.length) return [all];
    const why = all.every(isUsable) ? `more than ${mostOf(place)} that cannot be divided` : TOO_LARGE;
    if (this.#isAllow) return this.#lost(place, 'rule dropped', why);
    this.#lose(place, 'denies more', why);
    return [usable.length === 0 ? undefined : usable];
  }

  #lost(place: string, effect: 'denies more' | 'rule dropped', why: string): readonly undefined[] {
    this.#lose(place, effect, why);
    return this.#isAllow ? [] : [undefined];
  }
}

const TOO_LARGE = 'a value is too long, or a regular expression that RE2 does not take';
const MAX_TEXT = 1024;

/** Whether a value by itself can stand in a policy of ours. Of others than paths and headers our parser says what is wrong with them. */
function isUsable(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([key, text]) => {
    if (typeof text !== 'string') return true;
    return key === 'regex' ? compiles(text) : text.length <= MAX_TEXT;
  });
}

function compiles(regex: string): boolean {
  try {
    return compileRegex(regex) !== undefined;
  } catch {
    return false;
  }
}

function mostOf(place: string): number {
  return MOST[place.slice(place.lastIndexOf('.') + 1)] ?? MOST_VALUES;
}

function inParts<T>(list: readonly T[], most: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(list.length / most) }, (_, index) => list.slice(index * most, (index + 1) * most));
}
