import { array, integer, literal, object, optional, string } from '../../core/decode.ts';
import type { Decoded } from '../../core/decode.ts';
import { permission } from './consul-permissions.ts';
import { exactness } from './consul-services.ts';
import type { ConsulService } from './consul-services.ts';
import { anything } from './foreign.ts';
import type { Lose } from './foreign.ts';

/** What the documents do not say. */
export interface ConsulOptions {
  /** Where services are that name no namespace, or Consul's `default`. */
  readonly namespace: string;
  /** What Consul decides where no intention is about a call: `default_policy` of its ACLs. */
  readonly defaultPolicy: 'allow' | 'deny';
}

const text = optional(string({ allowEmpty: true }), '');

/** A source of an intention. */
export const intentionSource = object({
  name: string(),
  namespace: text,
  partition: text,
  peer: text,
  samenessGroup: text,
  action: optional(literal('allow', 'deny')),
  permissions: optional(array(permission), []),
  description: text,
  precedence: optional(integer()),
  type: anything,
  legacyID: anything,
  legacyMeta: anything,
  legacyCreateTime: anything,
  legacyUpdateTime: anything,
});

/** A destination and who calls it. */
export const intentionsSpec = object({
  destination: object({ name: string(), namespace: text, partition: text }),
  sources: array(intentionSource),
  jwt: anything,
  meta: anything,
});

/** One source at one destination. */
export interface Intention {
  readonly destination: ConsulService;
  readonly source: ConsulService;
  readonly spec: Decoded<typeof intentionSource>;
  readonly field: string;
  readonly lose: Lose;
}

/** Whether it denies, whatever is asked for. */
export function isPlainDeny({ spec: { action, permissions } }: Intention): boolean {
  return permissions.length === 0 && action !== 'allow';
}

/** Whether it lets its source in whatever is asked for: then nothing changes when a later one does too. */
export function isPlainAllow(intention: Intention): boolean {
  const { action, permissions } = intention.spec;
  return foreignField(intention) === undefined && action === 'allow' && permissions.length === 0;
}

/** What names callers that are not, or not only, of this cluster. */
export function foreignField({ spec }: Intention): 'partition' | 'peer' | 'samenessGroup' | undefined {
  return (['partition', 'peer', 'samenessGroup'] as const).find((key) => spec[key] !== '' && spec[key] !== 'default');
}

/** What names its destination more exactly decides, then what names its source more exactly; the first that does, decides alone. */
export function byPrecedence(one: Intention, other: Intention): number {
  return rankOf(other) - rankOf(one);
}

function rankOf({ destination, source }: Intention): number {
  return exactness(destination) * 3 + exactness(source);
}

/** Whether its destination is one service. */
export function isNamed({ destination }: Intention): boolean {
  return destination.name !== '*' && destination.namespace !== '*';
}
