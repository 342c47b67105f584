import { list, map, object, optional, required } from './collections.ts';
import { text, word } from './scalars.ts';
import { ruled } from './schema.ts';
import type { Rule, Schema } from './schema.ts';

/** Labels of an object. */
export type Labels = Readonly<Record<string, string>>;

/** One requirement of a label selector. */
export interface LabelRequirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /** Empty for `Exists` and `DoesNotExist`, and only for these. */
  readonly values: readonly string[];
}

/** A label selector: all that it asks for must hold. An empty one selects everything. */
export interface LabelSelector {
  readonly matchLabels: Labels;
  readonly matchExpressions: readonly LabelRequirement[];
}

/**
 * Whether the labels are what the selector asks for, as Kubernetes judges it: `NotIn` holds for an object without the label.
 *
 * @example
 * matches({ matchLabels: { app: 'web' }, matchExpressions: [] }, { app: 'web', tier: 'front' }); // true
 */
export function matches({ matchLabels, matchExpressions }: LabelSelector, labels: Labels): boolean {
  for (const key in matchLabels) if (valueOf(labels, key) !== matchLabels[key]) return false;
  return matchExpressions.every((requirement) => meets(requirement, valueOf(labels, requirement.key)));
}

// A label named like a member of Object.prototype must not be found where it is not.
function valueOf(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

function meets({ operator, values }: LabelRequirement, value: string | undefined): boolean {
  if (operator === 'Exists') return value !== undefined;
  if (operator === 'DoesNotExist') return value === undefined;
  const isAmong = value !== undefined && values.includes(value);
  return operator === 'In' ? isAmong : !isAmong;
}

/** Whether the selector asks for anything at all. */
export function selectsEverything({ matchLabels, matchExpressions }: LabelSelector): boolean {
  return Object.keys(matchLabels).length === 0 && matchExpressions.length === 0;
}

/**
 * A label that every selected object has, and the values it may have, so that selectors can be indexed: an object needs to
 * be compared with those only that are found by its labels, and with those that have no such label.
 */
export function indexLabelOf({
  matchLabels,
  matchExpressions,
}: LabelSelector): { key: string; values: readonly string[] } | undefined {
  for (const [key, value] of Object.entries(matchLabels)) return { key, values: [value] };
  return matchExpressions.find(({ operator }) => operator === 'In');
}

// Labels and qualified names: Kubernetes' "Labels and Selectors", section "Syntax and character set".
const LABEL_KEY =
  /^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const KEY_MEANING = 'a label key, such as app.kubernetes.io/name';
const VALUE_MEANING = 'a label value: letters, digits, dashes, underscores and dots';
/** A prefix of 253 characters, a slash and a name of 63. */
const MAX_KEY_LENGTH = 317;
const MAX_VALUE_LENGTH = 63;

const takesValues: Rule<LabelRequirement> = {
  cel: 'self.operator in ["In", "NotIn"] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0',
  message: 'In and NotIn need values; Exists and DoesNotExist take none',
  at: 'values',
  holds: ({ operator, values }) => (operator === 'In' || operator === 'NotIn') === values.length > 0,
};

const keysAreLabels: Rule<Labels> = {
  cel: `self.all(key, size(key) <= ${MAX_KEY_LENGTH} && key.matches(r"${LABEL_KEY.source.replaceAll(String.raw`\/`, '/')}"))`,
  message: `each key must be ${KEY_MEANING}`,
  holds: (labels) => Object.keys(labels).every((key) => key.length <= MAX_KEY_LENGTH && LABEL_KEY.test(key)),
};

// Where a template left nothing behind `team:`, a null is what the API server gets, or, from a client that takes nulls out,
// no label at all. Both would select everything.
const notEmpty: Rule<Labels> = {
  cel: 'size(self) > 0',
  message: 'must name a label; leave it out to select by none',
  holds: (labels) => Object.keys(labels).length > 0,
};

const noNulls: Rule<Labels> = {
  cel: 'self.all(key, dyn(self[key]) != null)',
  message: 'each label needs a value; write "" for an empty one',
  holds: () => true,
};

// Only so that the API server gets to see it: the parser refuses it as well.
function nullable<T>({ openApi, decoder }: Schema<T>): Schema<T> {
  return { openApi: { ...openApi, nullable: true }, decoder };
}

/** Bounds of a selector, which the API server needs to estimate what checking it costs. */
interface Limits {
  readonly labels?: number;
  readonly requirements?: number;
  readonly values?: number;
}

function selectorWithin({ labels, requirements, values }: Limits): Schema<LabelSelector> {
  const key = text({ maxLength: MAX_KEY_LENGTH, pattern: LABEL_KEY, meaning: KEY_MEANING });
  const value = text({ maxLength: MAX_VALUE_LENGTH, allowEmpty: true, pattern: LABEL_VALUE, meaning: VALUE_MEANING });
  const requirement = object({
    key: required('The label.', key),
    operator: required('How the label is compared with the values.', word('In', 'NotIn', 'Exists', 'DoesNotExist')),
    values: optional('For `In` and `NotIn`: the values.', list(value, atMost(values)), []),
  });
  const matchLabels =
    labels === undefined
      ? ruled(map(value), keysAreLabels)
      : ruled(map(nullable(value), { maxProperties: labels }), notEmpty, noNulls, keysAreLabels);
  const selector = object({
    matchLabels: optional('Labels that must be there with these values.', matchLabels, {}),
    matchExpressions: optional(
      'Further requirements. All must hold.',
      list(ruled(requirement, takesValues), atMost(requirements)),
      [],
    ),
  });
  return { ...selector, openApi: { ...selector.openApi, 'x-kubernetes-map-type': 'atomic' } };
}

function atMost(maxItems: number | undefined): { maxItems?: number } {
  return maxItems === undefined ? {} : { maxItems };
}

/** A label selector, as in many of Kubernetes' own resources. */
export const labelSelector = selectorWithin({ labels: 64, requirements: 32, values: 128 });

/** A label selector of a resource that sets no limits to it. */
export const unlimitedLabelSelector = selectorWithin({});
