// Rules of Istio's AuthorizationPolicy in our words: an ALLOW never matches more, a DENY never less.
import * as values from './istio-values.ts';
import type { Loss, Translated } from './losses.ts';

type Texts = readonly string[];

/** A rule of Istio's, its lists read as they stand. */
export interface IstioRule {
  readonly from: readonly Readonly<Record<string, Texts>>[] | undefined;
  readonly to: readonly Readonly<Record<string, Texts>>[] | undefined;
  readonly when: readonly { readonly key: string; readonly values: Texts; readonly notValues: Texts }[];
}

/** What rules are read with. */
export interface RuleContext {
  readonly isAllow: boolean;
  readonly trustDomain: string;
  /** Of the policy. */
  readonly namespace: string;
  readonly lose: (field: string, effect: Loss['effect'], why: string) => void;
}

type Clause = Record<string, unknown> & { not?: Record<string, unknown> };

interface FieldName {
  readonly side: 'from' | 'to';
  readonly ours: string;
  readonly isNegated: boolean;
  readonly translate: (texts: Texts, context: RuleContext, isWide: boolean) => readonly Translated<unknown>[];
}

const each =
  (translate: (text: string, context: RuleContext, isWide: boolean) => Translated<unknown>): FieldName['translate'] =>
  (texts, context, isWide) =>
    texts.map((text) => translate(text, context, isWide));

const KNOWN: Readonly<Record<string, Pick<FieldName, 'side' | 'ours' | 'translate'>>> = {
  principals: {
    side: 'from',
    ours: 'spiffeIDs',
    translate: each((text, { trustDomain }, isWide) => values.principal(text, trustDomain, isWide)),
  },
  trustDomains: {
    side: 'from',
    ours: 'trustDomains',
    translate: each((text, { trustDomain }) => values.trustDomain(text, trustDomain)),
  },
  namespaces: { side: 'from', ours: 'namespaces', translate: each(values.namePattern) },
  serviceAccounts: {
    side: 'from',
    ours: 'serviceAccounts',
    translate: each((text, { namespace }) => values.serviceAccount(text, namespace)),
  },
  ipBlocks: { side: 'from', ours: 'ipBlocks', translate: each(values.namePattern) },
  requestPrincipals: {
    side: 'from',
    ours: 'users',
    translate: each((text, _context, isWide) => values.requestPrincipal(text, isWide)),
  },
  hosts: { side: 'to', ours: 'hosts', translate: each(values.host) },
  ports: { side: 'to', ours: 'ports', translate: each(values.port) },
  methods: { side: 'to', ours: 'methods', translate: each((text, _context, isWide) => values.method(text, isWide)) },
  paths: { side: 'to', ours: 'paths', translate: each((text, _context, isWide) => values.path(text, isWide)) },
};

/** Fields of `when`, by what they are called in `from` and `to`. */
const CONDITIONS: Readonly<Record<string, string>> = {
  'source.ip': 'ipBlocks',
  'source.namespace': 'namespaces',
  'source.principal': 'principals',
  'source.trustDomain': 'trustDomains',
  'source.serviceAccount': 'serviceAccounts',
  'request.auth.principal': 'requestPrincipals',
  'destination.port': 'ports',
};

function fieldNamed(name: string): FieldName | undefined {
  const positive = name.replace(/^not([A-Z])/, (_, letter: string) => letter.toLowerCase());
  const known = Object.hasOwn(KNOWN, positive) ? KNOWN[positive] : undefined;
  return known === undefined ? undefined : { ...known, isNegated: positive !== name };
}

/** Our rule; undefined where it had to be dropped, which happens to ALLOW only. */
export function ruleOf({ from, to, when }: IstioRule, path: string, context: RuleContext): object | undefined {
  const clauses = {
    from: clausesOf(from, `${path}.from`, 'source', context),
    to: clausesOf(to, `${path}.to`, 'operation', context),
  };
  for (const [index, condition] of when.entries()) {
    const { key } = condition;
    for (const name of ['values', 'notValues'] as const) {
      if (condition[name].length === 0) continue;
      const place = `${path}.when[${index}].${name}`;
      const field = conditionNamed(key, name === 'notValues');
      if (field === undefined) lost(place, `nothing of ours asks for ${key}`, context);
      if (field === undefined) {
        if (context.isAllow) return undefined;
        continue;
      }
      clauses[field.side] = (clauses[field.side] ?? [{}]).filter((clause) =>
        add(clause, field, condition[name], { ...context, place }),
      );
    }
  }
  // A list that lost all of its clauses matches nothing; that of a DENY never loses one.
  if (clauses.from?.length === 0 || clauses.to?.length === 0) return undefined;
  const callers = context.isAllow ? clauses.from : clauses.from?.flatMap((clause) => alsoById(clause, `${path}.from`, context));
  return { ...listed('from', callers), ...listed('to', clauses.to) };
}

/** Istio takes namespaces and service accounts from the SPIFFE ID, whatever its trust domain; ours are those of registered callers. */
function alsoById(clause: Clause, place: string, { lose }: RuleContext): readonly Clause[] {
  const { namespaces, serviceAccounts, ...rest } = clause;
  const ids = [
    ...textsOf(namespaces).map((name) => `spiffe://*/ns/${name}/**`),
    ...textsOf(serviceAccounts).map((name) => `spiffe://*/ns/${name.replace('/', '/sa/')}`),
  ];
  if (ids.length === 0) return [clause];
  const isOne = rest['spiffeIDs'] === undefined && (namespaces === undefined || serviceAccounts === undefined);
  if (!isOne) lose(place, 'denies more', 'of callers of other trust domains, one of several conditions is kept');
  return [clause, { ...rest, spiffeIDs: rest['spiffeIDs'] ?? ids }];
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function conditionNamed(key: string, isNegated: boolean): FieldName | undefined {
  const [, name] = /^request\.headers\[(.+)\]$/.exec(key) ?? [];
  if (name !== undefined) return { side: 'to', ours: 'headers', isNegated, translate: (texts) => [values.header(name, texts)] };
  const known = Object.hasOwn(CONDITIONS, key) ? KNOWN[CONDITIONS[key] ?? ''] : undefined;
  return known === undefined ? undefined : { ...known, isNegated };
}

function clausesOf(list: IstioRule['from'], path: string, wrapper: string, context: RuleContext): Clause[] | undefined {
  // No alternatives: everything, as if there was no list.
  if (list?.length === 0) return undefined;
  return list?.flatMap((fields, index) => {
    const clause: Clause = {};
    const holds = Object.entries(fields).every(([name, texts]) => {
      if (texts.length === 0) return true;
      const place = `${path}[${index}].${wrapper}.${name}`;
      const field = fieldNamed(name);
      return field === undefined
        ? lost(place, 'nothing of ours stands for it', context)
        : add(clause, field, texts, { ...context, place });
    });
    return holds ? [clause] : [];
  });
}

/** Adds a field to a clause. False where the clause of an ALLOW cannot be kept without it. */
function add(clause: Clause, field: FieldName, texts: Texts, context: RuleContext & { readonly place: string }): boolean {
  const { isAllow, place, lose } = context;
  // Fewer values narrow an ALLOW, and widen a DENY where they are negated: both are safe.
  const mayLose = isAllow !== field.isNegated;
  const target = field.isNegated ? (clause.not ?? {}) : clause;
  if (target[field.ours] !== undefined && field.ours !== 'headers')
    return lost(place, 'a clause has this field once only', context);
  if (field.ours === 'headers' && field.isNegated && target['headers'] !== undefined)
    return lost(place, 'a clause has this field once only', context);
  const found = field.translate(texts, context, !mayLose);
  const patterns = distinct(found.flatMap((one) => one.patterns));
  const isExact = found.every((one) => one.isExact);
  if (patterns.length === 0 || (!isExact && !mayLose)) return lost(place, 'not all of its values can be said', context);
  if (!isExact) lose(place, isAllow ? 'allows less' : 'denies more', `carried over in part: ${JSON.stringify(patterns)}`);
  const known: unknown = target[field.ours];
  target[field.ours] = Array.isArray(known) ? [...known, ...patterns] : patterns;
  if (field.isNegated) clause.not = target;
  return true;
}

function distinct(patterns: readonly unknown[]): readonly unknown[] {
  return [...new Map(patterns.map((each) => [JSON.stringify(each), each])).values()];
}

/** An ALLOW loses the clause, a DENY the field. */
function lost(place: string, why: string, { isAllow, lose }: RuleContext): boolean {
  lose(place, isAllow ? 'rule dropped' : 'denies more', why);
  return !isAllow;
}

/** A clause without fields is about everything; so is a list with one. */
function listed(name: string, clauses: readonly Clause[] | undefined): object {
  if (clauses === undefined || clauses.some((clause) => Object.keys(clause).length === 0)) return {};
  return { [name]: clauses };
}
