import type { AuthorityStatus, GetStatusResponse } from '../../proto/gen/countersign/admin/v1/inspection_pb.ts';
import type { Finding } from './finding.ts';

const HOUR_S = 3600;
/** How far a clock may be off before tokens and new certificates are refused by somebody: half the 10 s of backdating. */
export const MAX_OFFSET_MS = 5_000;
const LISTED = 5;

/** What the status of one CA replica says, read at `nowMs` of this machine. */
export function caFindings(
  status: GetStatusResponse,
  { subject, nowMs }: { subject: string; nowMs: number },
): readonly Finding[] {
  const found = (level: Finding['level'], text: string, remedy?: string): Finding => {
    return { level, subject, text, ...(remedy === undefined ? {} : { remedy }) };
  };
  return [
    found('ok', `serves ${status.trustDomain}, version ${status.version}, ${status.entries} entries`),
    ...componentFindings(status, found),
    ...status.authorities.flatMap((authority) => authorityFindings(authority, { status, nowMs, found })),
    ...agentFindings(status, found),
    offsetFinding(Number(status.nowMs) - nowMs, found),
  ];
}

type Found = (level: Finding['level'], text: string, remedy?: string) => Finding;

function componentFindings({ components }: GetStatusResponse, found: Found): readonly Finding[] {
  return components.flatMap(({ name, ok, reason }) => {
    if (!ok) return [found('error', `${name}: ${reason}`, `read the CA's log for component "${name}"`)];
    if (!reason.startsWith('degraded')) return [];
    return [found('warning', `${name}: ${reason}`, 'bring the database back; nothing acknowledged is lost meanwhile')];
  });
}

function authorityFindings(
  authority: AuthorityStatus,
  { status, nowMs, found }: { readonly status: GetStatusResponse; readonly nowMs: number; readonly found: Found },
): readonly Finding[] {
  if (authority.state !== 'active') return [];
  const { kind } = authority;
  if (authority.tainted) {
    return [
      found('error', `the ${kind} authority in force is tainted`, `countersign authority prepare and activate, kind ${kind}`),
    ];
  }
  const leftS = Number(authority.expiresAt) - Math.floor(nowMs / 1000);
  const until = new Date(Number(authority.expiresAt) * 1000).toISOString().replace('.000Z', 'Z');
  if (leftS <= 0) return [found('error', `the ${kind} authority ran out at ${until}`, 'see /readyz for why it was not replaced')];
  const hasNext = status.authorities.some((other) => other.kind === kind && other.state === 'prepared');
  if (leftS < HOUR_S && !hasNext) {
    return [found('error', `the ${kind} authority ends at ${until} and none is prepared`, 'see /readyz for why none is')];
  }
  return [found('ok', `${kind} authority good until ${until}${hasNext ? ', the next one is prepared' : ''}`)];
}

function agentFindings({ agents }: GetStatusResponse, found: Found): readonly Finding[] {
  if (agents === undefined) return [];
  const { attested, connected, banned, expired, expiredIds, lagging } = agents;
  const late = lagging.map(({ agentId, acknowledgedRevision, sentRevision }) => {
    return `${agentId} (has ${acknowledgedRevision}, was sent ${sentRevision})`;
  });
  return [
    found('ok', `${attested} agents attested, ${connected} connected to this replica${banned === 0 ? '' : `, ${banned} banned`}`),
    ...(lagging.length === 0
      ? []
      : [found('error', `agents that lag: ${some(late)}`, "look at those agents' logs and at the load of their nodes")]),
    ...(expired === 0
      ? []
      : [
          found(
            'warning',
            `${expired} agents did not come back: ${some(expiredIds)}`,
            'if their nodes are gone, pruneAgentsAfter forgets them',
          ),
        ]),
  ];
}

/** What to say of a clock that is `offsetMs` ahead of this machine's. */
export function offsetFinding(offsetMs: number, found: Found): Finding {
  const text = `clock ${offsetMs >= 0 ? 'ahead' : 'behind'} by ${(Math.abs(offsetMs) / 1000).toFixed(1)} s of this machine's`;
  if (Math.abs(offsetMs) <= MAX_OFFSET_MS) return found('ok', text);
  return found('error', text, 'synchronise the clocks (NTP): certificates are backdated by 10 s only');
}

function some(texts: readonly string[]): string {
  const more = texts.length > LISTED ? `, and ${texts.length - LISTED} more` : '';
  return `${texts.slice(0, LISTED).join(', ')}${more}`;
}
