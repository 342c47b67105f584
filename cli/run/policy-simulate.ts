import { Destinations, partsOf } from '../../ca/calls/recorded-calls.ts';
import { IdentityError } from '../../core/errors.ts';
import type { PolicyChange } from '../../policy/compile/snapshot.ts';
import { consequencesOf } from '../../policy/documents/affected-calls.ts';
import { recordedCallOf } from '../../policy/documents/recorded-calls.ts';
import { loadExpressions } from '../../policy/expressions/load.ts';
import type { PolicyName } from '../../policy/model.ts';
import { policyKey } from '../../policy/policy.ts';
import type { RequestAuthentication } from '../../policy/resources/request-authentication.ts';
import type { Change, Simulated } from '../../policy/simulate.ts';
import { withAuthentications } from '../../policy/token-demands.ts';
import { encodePolicy, encodeRequestAuthentication } from '../../policy/wire-policy.ts';
import { Policies, type SimulateResponse, type Verdict } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { connectCa } from '../ca-connection.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { countedOf, RECORDED, recordedCallsOf, sinceOf } from '../policy/ca-calls.ts';
import { policiesOfOptions, resourcesOf } from '../policy/ca-policies.ts';
import { consequencesJson, consequencesText, type ChangedCalls } from '../policy/consequences-text.ts';
import { readResources, snapshotOf, warn } from '../policy/policy-files.ts';
import { parsePolicyName, type ResourceName } from '../policy/policy-names.ts';

/** `countersign policy simulate`: 1 when something that was allowed would be denied, or may be. */
export const simulatePolicies: CommandRun = async (invocation) => {
  const format = invocation.text('output') ?? 'text';
  if (format !== 'text' && format !== 'json') throw usage(invocation.command, `--output ${format} is unknown; use text or json`);
  if (invocation.texts('file').length + invocation.texts('delete').length === 0) {
    throw usage(invocation.command, 'say what would change: -f FILE, or --delete KIND/NAMESPACE/NAME');
  }
  const isOfCa = (invocation.text('against') ?? RECORDED) === RECORDED && invocation.texts('policies').length === 0;
  const { changed, isHarmless } = await (isOfCa ? simulatedByCa(invocation) : simulatedHere(invocation));
  invocation.terminal.write(format === 'json' ? consequencesJson(changed) : consequencesText(changed));
  return isHarmless ? 0 : 1;
};

interface Outcome {
  readonly changed: ChangedCalls;
  readonly isHarmless: boolean;
}

async function simulatedHere(invocation: Invocation): Promise<Outcome> {
  const calls = await recordedCallsOf(invocation, invocation.text('against') ?? RECORDED);
  const { policies, authentications, defaultAction } = await policiesOfOptions(invocation);
  const { set, deleted, required } = await changeOf(invocation);
  const expressions = await loadExpressions([...policies, ...set]);
  const before = snapshotOf(invocation, policies, { defaultAction, expressions });
  requirePresent(deleted, new Set(before.policies.keys()));
  const after = before.with({ set, deleted });
  warn(invocation, after);
  const tokens = required.length === 0 ? undefined : withAuthentications(authentications, { set: required, deleted: [] });
  const options = { before, after, calls, countsDryRun: invocation.flag('count-dry-run') };
  const consequences = consequencesOf({ ...options, ...(tokens && { authentications: tokens }) });
  return { changed: consequences, isHarmless: consequences.isHarmless };
}

interface DeclaredChange extends Required<PolicyChange> {
  /** RequestAuthentications: they say who needs a token. */
  readonly required: readonly RequestAuthentication[];
}

async function changeOf(invocation: Invocation): Promise<DeclaredChange> {
  const { policies: set, authentications: required } = await readResources(invocation, invocation.texts('file'));
  const deleted = invocation.texts('delete').map(parsePolicyName);
  const both = set.find(({ name }) => deleted.some((each) => policyKey(each) === policyKey(name)));
  if (both !== undefined) throw usage(invocation.command, `${policyKey(both.name)} cannot be both changed and deleted`);
  return { set, deleted, required };
}

/** A name that is mistyped would change nothing, and look harmless. */
function requirePresent(deleted: readonly PolicyName[], present: ReadonlySet<string>): void {
  const missing = deleted.map(policyKey).find((key) => !present.has(key));
  if (missing !== undefined)
    throw new IdentityError('not_found', `there is no ${missing.replace('//', '/')} that could be deleted`);
}

async function keysAt(connection: GrpcConnection): Promise<ReadonlySet<string>> {
  const resources = await Array.fromAsync(resourcesOf(connection));
  return new Set(resources.flatMap(({ name }) => (name === undefined ? [] : [policyKey(policyNameOf(name))])));
}

/** Most changes that are listed; the CA counts the rest. */
const LIMIT = 1000;

/** Both sides are the CA's own: it judges by its policies, its default and what it knows of callers. */
async function simulatedByCa(invocation: Invocation): Promise<Outcome> {
  if (invocation.text('default') !== undefined) {
    throw usage(invocation.command, '--default goes with --policies or a file of calls; the CA has its own');
  }
  const { set, deleted, required } = await changeOf(invocation);
  // Says what cannot be compiled, which the CA does not.
  snapshotOf(invocation, set, { expressions: await loadExpressions(set) });
  const since = sinceOf(invocation);
  using connection = await connectCa(invocation);
  if (deleted.length > 0) requirePresent(deleted, await keysAt(connection));
  const response = await connection.client(Policies).simulate({
    set: [...set.map((policy) => ({ name: policy.name, document: encodePolicy(policy) })), ...required.map(resourceOf)],
    deleted: [...deleted],
    countsDryRun: invocation.flag('count-dry-run'),
    limit: LIMIT,
    ...(since === undefined ? {} : { since }),
  });
  return { changed: changedOf(response), isHarmless: response.harmless };
}

function resourceOf(authentication: RequestAuthentication): { name: ResourceName; document: string } {
  const { namespace, name } = authentication.meta;
  return { name: { kind: 'RequestAuthentication', namespace, name }, document: encodeRequestAuthentication(authentication) };
}

function changedOf({ changes, denied, allowed, unknown }: SimulateResponse): ChangedCalls {
  const destinations = new Destinations();
  const read = changes.flatMap(({ call, before, after }): Change[] => {
    if (call === undefined) return [];
    const counted = countedOf(call);
    const recorded = recordedCallOf(partsOf(counted, destinations.of(counted.kind.destination)));
    return [{ recorded, before: simulatedOf(before), after: simulatedOf(after) }];
  });
  const of = (verdict: string): readonly Change[] => read.filter((change) => change.after.verdict === verdict);
  return { denied: of('deny'), allowed: of('allow'), unknown: of('unknown'), totals: { denied, allowed, unknown } };
}

function simulatedOf(verdict: Verdict | undefined): Simulated {
  const { policy, rule } = verdict?.rule ?? {};
  // The casts are sound: the CA sends the words of these types, and what is printed needs no others.
  return {
    verdict: (verdict?.verdict ?? 'unknown') as Simulated['verdict'],
    reason: (verdict?.reason ?? 'not_recorded') as Simulated['reason'],
    ...(policy === undefined || rule === undefined ? {} : { policy: policyNameOf(policy), rule }),
  };
}

function policyNameOf({ kind, namespace, name }: { kind: string; namespace: string; name: string }): PolicyName {
  return { kind: kind === 'AuthorizationPolicy' ? kind : 'ClusterAuthorizationPolicy', namespace, name };
}
