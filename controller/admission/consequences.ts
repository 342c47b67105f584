import type { Call, Change, SimulateResponse, Verdict } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { PolicyResourceName } from '../policies/policy-object.ts';
import { refText } from '../ports.ts';

/** Which change it is about. */
export interface Changed {
  readonly name: PolicyResourceName;
  /** Whether policies of mode DryRun were counted as enforced. */
  readonly isDry: boolean;
  readonly isDeletion: boolean;
}

/** Calls that are named: with the lines around them few enough for what the API server passes on. */
const NAMED = 7;
/** The most of an identity and of a path that a line shows. */
const MOST_OF_ID = 64;
const MOST_OF_PATH = 48;

/** Recorded calls that are allowed now and would be denied, or may be. */
function denials({ changes }: SimulateResponse): readonly Change[] {
  return changes.filter(({ before, after }) => before?.verdict === 'allow' && after?.verdict !== 'allow');
}

/** What a change would do to recorded calls, in lines for whoever makes it; none where it does no harm. */
export function consequencesIn(response: SimulateResponse, { name, isDry, isDeletion }: Changed): readonly string[] {
  const all = denials(response).filter((change) => !isDry || isBecauseOf(change, name));
  const opened =
    isDeletion && response.allowed > 0 ? [`recorded calls that are denied now would be allowed: ${kinds(response.allowed)}`] : [];
  if (all.length === 0 && (isDry || response.harmless)) return opened;
  const certain = all.filter(({ after }) => after?.verdict === 'deny');
  const ordered = [...certain, ...all.filter(({ after }) => after?.verdict !== 'deny')];
  const more = Math.max(ordered.length, isDry ? 0 : response.denied + response.unknown) - Math.min(NAMED, ordered.length);
  return [
    `${isDry ? 'if it were enforced, it would cut off' : 'cuts off'} calls that were seen (${kinds(response.kinds)} of calls are recorded)`,
    ...ordered.slice(0, NAMED).map(lineOf),
    ...(more > 0 ? [`and ${more} more, which this lists: ${listing(name, { isDry, isDeletion })}`] : []),
    ...opened,
  ];
}

/** A command for a shell, as docs/kubernetes.md has it: the policy itself goes in by standard input. */
function listing({ kind, namespace, name }: PolicyResourceName, { isDry, isDeletion }: Omit<Changed, 'name'>): string {
  const command = 'kubectl -n countersign-system exec -i countersign-ca-0 -- countersign policy simulate';
  if (isDeletion) return `${command} --delete ${[kind, namespace, name].filter((part) => part !== '').join('/')}`;
  return `${command} -f -${isDry ? ' --count-dry-run' : ''} < FILE`;
}

function kinds(count: number | bigint): string {
  return `${count} ${BigInt(count) === 1n ? 'kind' : 'kinds'}`;
}

/** With policies of mode DryRun counted, others of that mode deny as well: what they deny is not this one's. */
function isBecauseOf({ after }: Change, { kind, namespace, name }: PolicyResourceName): boolean {
  const policy = after?.rule?.policy;
  return policy === undefined || (policy.kind === kind && policy.namespace === namespace && policy.name === name);
}

function lineOf({ call, after }: Change): string {
  if (call === undefined) return 'a call that was seen';
  const would = after?.verdict === 'deny' ? 'would be denied' : 'may be denied, by what is not recorded';
  const times = call.count === 1n ? 'once' : `${call.count} times`;
  const { destination } = call;
  const source = call.sourceSpiffeId === '' ? 'a caller without an identity' : short(call.sourceSpiffeId, MOST_OF_ID);
  const target = short(destination?.spiffeId ?? '', MOST_OF_ID);
  return `${source} → ${target} ${whatOf(call)} ${would} (${times}, last ${timeOf(call)}; ${whyOf(after)})`;
}

function whatOf({ request, destination }: Call): string {
  if (request === undefined) return `port ${destination?.port ?? 0}`;
  if (request.grpcService !== '') return short(`${request.grpcService}/${request.grpcMethod}`, MOST_OF_PATH);
  return `${request.method} ${short(request.pathTemplate, MOST_OF_PATH)}`;
}

function timeOf({ lastSeen }: Call): string {
  if (lastSeen === undefined) return 'at an unknown time';
  return `${new Date(Number(lastSeen.seconds) * 1000).toISOString().slice(0, 16)}Z`;
}

function whyOf(after: Verdict | undefined): string {
  const { rule } = after ?? {};
  if (rule?.policy !== undefined) return `rule ${rule.rule} of ${refText(rule.policy)}`;
  return after?.reason === 'no_rule_matches' ? 'no rule allows it' : (after?.reason ?? '');
}

/** The beginning and the end of a text that is too long. */
function short(text: string, most: number): string {
  if (text.length <= most) return text;
  const half = Math.floor((most - 1) / 2);
  return `${text.slice(0, half)}…${text.slice(-half)}`;
}
