// The controller's part in authorization, fed by hand, against a stand-in for the CA on a real socket.
import { systemClock } from '../../core/clock.ts';
import { durationOfMs } from '../../core/duration.ts';
import { createPolicyParts, type PolicyParts } from '../../controller/policies/policy-parts.ts';
import type { DeclaredObject } from '../../controller/declared-objects.ts';
import type { JsonObject } from '../../controller/ports.ts';
import type { MassDeletion } from '../../controller/entries/held-deletions.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { createLogger } from '../../runtime/log.ts';
import { StandInPolicies } from './stand-in-policies.ts';

/** What a test says of a resource: its kind in short, and its spec as in YAML. */
export interface TestPolicy {
  readonly kind?: 'AuthorizationPolicy' | 'ClusterAuthorizationPolicy' | 'RequestAuthentication';
  readonly name: string;
  readonly namespace?: string;
  readonly generation?: number;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec?: unknown;
}

/** A resource as the API server has it. */
export function policyObject({
  kind = 'AuthorizationPolicy',
  name,
  namespace,
  generation = 1,
  annotations = {},
  spec = {},
}: TestPolicy) {
  const place = kind === 'ClusterAuthorizationPolicy' ? {} : { namespace: namespace ?? 'shop' };
  const metadata = { name, ...place, uid: `uid-${name}`, generation, annotations };
  return { apiVersion: 'countersign.dev/v1alpha1', kind, metadata, spec } satisfies KubeObject;
}

interface WorldOptions {
  readonly massDeletion?: MassDeletion;
  readonly driftCheckMs?: number;
  /** As with a folder of files. */
  readonly isUnreviewed?: boolean;
}

/** The parts of one controller and the CA that they talk to. */
export class PolicyWorld implements AsyncDisposable {
  readonly ca: StandInPolicies;
  readonly parts: PolicyParts;
  /** Every status that was written, the newest last, by key. */
  readonly statuses = new Map<string, JsonObject[]>();
  /** What was told of objects beside their status. */
  readonly told: string[] = [];
  #stop: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();

  private constructor(
    ca: StandInPolicies,
    { massDeletion = 'refuse', driftCheckMs = 60_000, isUnreviewed = false }: WorldOptions,
  ) {
    this.ca = ca;
    this.parts = createPolicyParts({
      config: { entryIdPrefix: 'main.', driftCheck: durationOfMs(driftCheckMs), massDeletion },
      connection: ca.connection,
      sink: { write: (object, status) => Promise.resolve(this.#take(object, status)) },
      isUnreviewed,
      tell: ({ kind, namespace = '', name }, { reason, message }) =>
        void this.told.push(`${kind}/${namespace}/${name}: ${reason}: ${message}`),
      now: () => '2026-01-01T00:00:00Z',
      clock: systemClock,
      log: createLogger({ level: 'fatal', name: 'test' }),
    });
  }

  static async create(options: WorldOptions = {}): Promise<PolicyWorld> {
    return new PolicyWorld(await StandInPolicies.start(), options);
  }

  /** Another controller, with nothing read yet, at the same CA. */
  next(massDeletion: MassDeletion = 'refuse'): PolicyWorld {
    return new PolicyWorld(this.ca, { massDeletion });
  }

  put(...policies: readonly TestPolicy[]): void {
    for (const policy of policies) {
      const object = policyObject(policy);
      this.#kindOf(object.kind)?.read(object)('');
    }
  }

  remove({ kind = 'AuthorizationPolicy', name, namespace = 'shop' }: TestPolicy): void {
    this.#kindOf(kind)?.remove(kind === 'ClusterAuthorizationPolicy' ? name : `${namespace}/${name}`);
  }

  namespace(name: string, labels: Readonly<Record<string, string>> | undefined): void {
    if (labels === undefined) this.parts.namespaces.remove(name);
    else this.parts.namespaces.put({ name, labels });
  }

  /** Begins a term. */
  lead(): void {
    this.#stop = new AbortController();
    this.#running = this.parts.run(this.#stop.signal);
  }

  /** Ends it. */
  async resign(): Promise<void> {
    this.#stop?.abort();
    await this.#running;
  }

  /** The newest status of an object. */
  status(key: string): JsonObject | undefined {
    return this.statuses.get(key)?.at(-1);
  }

  /** The truth and the reason of a condition, such as `True Programmed`. */
  condition(key: string, type: string): string {
    // The cast is sound: the writer made them.
    const conditions = (this.status(key)?.['conditions'] ?? []) as { type: string; status: string; reason: string }[];
    const found = conditions.find((each) => each.type === type);
    return `${found?.status} ${found?.reason}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.resign();
    await this.ca[Symbol.asyncDispose]();
  }

  #kindOf(kind: string) {
    return this.parts.kinds.find(({ type }) => type.kind === kind);
  }

  #take({ key }: DeclaredObject, status: JsonObject): void {
    this.statuses.set(key, [...(this.statuses.get(key) ?? []), status]);
  }
}
