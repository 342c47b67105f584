import type { Call, CallField } from '../model.ts';
import type { CompiledRule } from './policy.ts';
import { YES } from './tri.ts';

/**
 * Rules in order, found by the caller: a rule that names callers exactly is looked at for these only. What decides is the first rule
 * that matches, in the order of the policies and of their rules.
 */
export class RuleIndex {
  readonly rules: readonly CompiledRule[];
  readonly #byId = new Map<string, Entry[]>();
  readonly #byNamespace = new Map<string, Entry[]>();
  readonly #rest: Entry[] = [];

  constructor(rules: readonly CompiledRule[]) {
    this.rules = rules;
    for (const [place, rule] of rules.entries()) this.#add({ place, rule });
  }

  /** The first rule that matches. */
  first(call: Call): CompiledRule | undefined {
    if (this.rules.length === 0) return undefined;
    if (call.unseen !== undefined || call.unrecorded !== undefined) {
      return this.candidates(call).find(({ test }) => test(call) === YES);
    }
    const { spiffeId, namespace } = call.source;
    let best: Entry | undefined;
    if (spiffeId !== undefined && this.#byId.size > 0) best = firstOf(this.#byId.get(spiffeId.toString()), call, best);
    if (namespace !== undefined && this.#byNamespace.size > 0) best = firstOf(this.#byNamespace.get(namespace), call, best);
    return firstOf(this.#rest, call, best)?.rule;
  }

  /** The rules that may match, in order: those that name other callers exactly do not. */
  candidates(call: Call): readonly CompiledRule[] {
    if (this.#rest.length === this.rules.length || lacksCaller(call.unseen) || lacksCaller(call.unrecorded)) return this.rules;
    const { spiffeId, namespace } = call.source;
    const byId = spiffeId === undefined ? undefined : this.#byId.get(spiffeId.toString());
    const byNamespace = namespace === undefined ? undefined : this.#byNamespace.get(namespace);
    const lists = [byId, byNamespace, this.#rest].filter((list) => list !== undefined && list.length > 0);
    const [only, second] = lists;
    if (only !== undefined && second === undefined) return only.map(({ rule }) => rule);
    const all = new Set(lists.flatMap((list) => list ?? []));
    return [...all].sort((one, other) => one.place - other.place).map(({ rule }) => rule);
  }

  #add(entry: Entry): void {
    const keys = exactSources(entry.rule);
    if (keys === undefined) this.#rest.push(entry);
    else
      for (const [map, key] of keys.map((each) => [each.kind === 'id' ? this.#byId : this.#byNamespace, each.text] as const))
        push(map, key, entry);
  }
}

const lacksCaller = (fields: ReadonlySet<CallField> | undefined): boolean =>
  fields !== undefined && (fields.has('source.spiffeId') || fields.has('source.workload'));

interface Entry {
  readonly place: number;
  readonly rule: CompiledRule;
}

function firstOf(entries: readonly Entry[] | undefined, call: Call, best: Entry | undefined): Entry | undefined {
  if (entries === undefined) return best;
  for (const entry of entries) {
    if (best !== undefined && entry.place > best.place) return best;
    if (entry.rule.test(call) === YES) return entry;
  }
  return best;
}

function push(map: Map<string, Entry[]>, key: string, entry: Entry): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [entry]);
  else if (list.at(-1) !== entry) list.push(entry);
}

interface SourceKey {
  readonly kind: 'id' | 'namespace';
  readonly text: string;
}

/** The callers that a rule names exactly; undefined where any clause could hold for others. */
function exactSources({ policy, spec: { from } }: CompiledRule): readonly SourceKey[] | undefined {
  const keys = from?.map(({ spiffeIDs, namespaces, serviceAccounts }) => {
    const owners = serviceAccounts?.map((each) => (each.includes('/') ? (each.split('/')[0] ?? '') : policy.name.namespace));
    return exact('id', spiffeIDs) ?? exact('namespace', namespaces) ?? exact('namespace', owners);
  });
  return keys?.every((each) => each !== undefined) ? keys.flat() : undefined;
}

function exact(kind: SourceKey['kind'], texts: readonly string[] | undefined): readonly SourceKey[] | undefined {
  return texts?.every((text) => !text.includes('*')) ? texts.map((text) => ({ kind, text })) : undefined;
}
