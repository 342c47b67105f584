import type { Clock } from '../../core/clock.ts';
import type { IdentityError } from '../../core/errors.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import type { Logger } from '../../runtime/log.ts';
import type { ControllerConfig } from '../config.ts';
import { DeclaredObjects, subjectOf } from '../declared-objects.ts';
import { declarationKey } from '../identity/declaration-store.ts';
import type { NamespaceRecord, Problem } from '../ports.ts';
import { runTogether } from '../run-together.ts';
import type { ObjectKind } from '../sources/object-kind.ts';
import { lastingOutage } from '../status/lasting-outage.ts';
import { StatusWriter, type StatusSink } from '../status/status-writer.ts';
import { AskedBefore } from './asked-before.ts';
import { PolicyAssessor } from './policy-assessment.ts';
import { PolicyClient } from './policy-client.ts';
import { policyKinds } from './policy-feed.ts';
import { PolicyIndex } from './policy-index.ts';
import { PolicyOverlaps } from './policy-overlaps.ts';
import { PolicyReconciler } from './policy-reconciler.ts';
import { PolicyStandings } from './policy-standings.ts';
import { isNews, policyStatusOf, type PolicyStatusInputs } from './policy-status.ts';

/** What the parts of authorization are made from. */
export interface PolicyPartsOptions {
  readonly config: Pick<ControllerConfig, 'entryIdPrefix' | 'driftCheck' | 'massDeletion'>;
  readonly connection: Pick<GrpcConnection, 'client'>;
  readonly sink: StatusSink;
  /** Whether objects come from where no webhook is asked about them. */
  readonly isUnreviewed: boolean;
  /** Tells whoever looks at an object what is wrong with it. */
  readonly tell: (about: ReturnType<typeof subjectOf>, problem: Problem) => void;
  /** RFC 3339. */
  readonly now: () => string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The parts that take policies from objects to the CA, and tell at the objects how they stand. */
export interface PolicyParts {
  readonly index: PolicyIndex;
  readonly assessor: PolicyAssessor;
  readonly overlaps: PolicyOverlaps;
  readonly client: PolicyClient;
  readonly reconciler: PolicyReconciler;
  readonly declared: DeclaredObjects;
  readonly statusInputs: PolicyStatusInputs;
  readonly kinds: readonly ObjectKind[];
  readonly namespaces: { put(namespace: NamespaceRecord): void; remove(name: string): void };
  /** Does all that is done while this process leads. */
  run(signal: AbortSignal): Promise<void>;
}

/** While only figures change, a status is written as often as this; and all of them together 20 times a second. */
const REST_MS = 5_000;
const REST_MS_EACH = 50;

/** Makes the parts and connects them. */
export function createPolicyParts(options: PolicyPartsOptions): PolicyParts {
  const { clock, log } = options;
  const declared = new DeclaredObjects();
  const assessor = new PolicyAssessor();
  const overlaps = new PolicyOverlaps();
  const owner = options.config.entryIdPrefix.replace(/\.$/, '');
  const index = new PolicyIndex(owner);
  const client = new PolicyClient(options.connection);
  const mark = (key: string): void => statuses.mark(key);
  const reconciler = createReconciler(options, { declared, index, client, owner, onChanged: mark });
  const standings = new PolicyStandings({ client, clock, log, onChanged: mark, onComplete: () => statuses.markAll() });
  const lasting = lastingOutage(reconciler.outage, clock);
  const outage = (key: string): IdentityError | undefined => {
    const untold = standings.isComplete ? undefined : standings.outage.value;
    // What is new hears of an outage at once; what is in force need not hear of a short one.
    return lasting.value ?? untold ?? (reconciler.revisionOf(key) === undefined ? reconciler.outage.value : undefined);
  };
  // Before it is known how things are, what an earlier leader wrote is the better status.
  const isKnown = (): boolean => reconciler.settled.value && standings.isComplete;
  const statusInputs = { index, assessor, overlaps, policies: reconciler, standings, outage, isKnown, now: options.now };
  const statuses = new StatusWriter({
    statusOf: (object) => policyStatusOf(object, statusInputs),
    declared,
    sink: options.sink,
    clock,
    log,
    isBusy: () => false,
    isCounting: () => false,
    pace: { isNews, restMs: () => Math.max(REST_MS, declared.size * REST_MS_EACH) },
  });
  index.onChanged((key) => reconciler.enqueue([key]));
  overlaps.onChanged(mark);
  declared.onChanged(mark);
  for (const each of [lasting, reconciler.settled]) each.subscribe(() => statuses.markAll());
  for (const each of [reconciler.outage, standings.outage]) each.subscribe(() => statuses.markAll());
  const kinds = policyKinds({
    index,
    overlaps,
    declared,
    onRemark: options.isUnreviewed ? options.tell : undefined,
    onRead: ({ policy, name }) => void (policy && assessor.prepare(policy).then(() => mark(declarationKey(name)))),
  });
  return {
    index,
    assessor,
    overlaps,
    client,
    reconciler,
    declared,
    statusInputs,
    kinds,
    namespaces: { put: (record) => index.putNamespace(record), remove: (name) => index.removeNamespace(name) },
    run: (signal) =>
      runTogether(
        [
          (ends) => reconciler.run(ends),
          (ends) => standings.run(ends),
          (ends) => overlaps.run(ends, clock),
          (ends) => statuses.run(ends),
        ],
        signal,
      ),
  };
}

interface ReconcilerTargets extends Pick<PolicyParts, 'declared' | 'index' | 'client'> {
  readonly owner: string;
  readonly onChanged: (key: string) => void;
}

function createReconciler(
  { config, isUnreviewed, tell, clock, log }: PolicyPartsOptions,
  { declared, index, client, owner, onChanged }: ReconcilerTargets,
): PolicyReconciler {
  return new PolicyReconciler({
    desired: index,
    client,
    asked: isUnreviewed ? new AskedBefore({ index, client }) : undefined,
    owner,
    clock,
    log,
    driftCheckMs: config.driftCheck.ms,
    massDeletion: config.massDeletion,
    onChanged,
    onRefused: (declarer, problem) => {
      const object = declared.get(declarationKey(declarer));
      if (object !== undefined) tell(subjectOf(object), problem);
    },
  });
}
