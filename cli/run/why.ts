import { Diagnosis, type ExplainWorkloadResponse, type NearMiss } from '../../proto/gen/countersign/agent/v1/agent_pb.ts';
import { connectAgent } from '../ca-connection.ts';
import { usage, type CommandRun } from '../command.ts';
import { formatWireId } from '../entry-fields.ts';
import { printRows } from '../output.ts';

const selectorTexts = (selectors: readonly { readonly type: string; readonly value: string }[]): string[] =>
  selectors.map(({ type, value }) => `${type}:${value}`);

/** `countersign why PID` */
export const why: CommandRun = async (invocation) => {
  const [word = ''] = invocation.arguments(1);
  const pid = Number(word);
  if (!Number.isInteger(pid) || pid < 1) throw usage(invocation.command, `"${word}" is no process ID`);
  using connection = await connectAgent(invocation);
  const found = await connection.client(Diagnosis).explainWorkload({ pid });
  if ((invocation.text('output') ?? 'table') === 'table') invocation.terminal.write(explain(pid, found));
  else await printRows(invocation, rowsOf(found));
  return found.matching.length > 0 ? 0 : 1;
};

function explain(pid: number, { selectors, matching, nearMisses, entryCount }: ExplainWorkloadResponse): string {
  return [
    `Process ${pid} has these selectors:`,
    ...selectorTexts(selectors).map((text) => `  ${text}`),
    '',
    matching.length > 0
      ? 'It gets these identities:'
      : `It gets no identity: none of the ${entryCount} entries of this agent matches it.`,
    ...matching.map(
      ({ id, spiffeId, selectors: needed }) => `  ${formatWireId(spiffeId)}  (entry ${id}: ${selectorTexts(needed).join(', ')})`,
    ),
    ...(nearMisses.length === 0
      ? []
      : ['', 'These entries nearly match; what the process lacks:', ...nearMisses.flatMap(describeNearMiss)]),
    ...(entryCount === 0
      ? [
          '',
          "No entry has this agent as its parent. Create one whose --parent-id is the agent's SPIFFE ID (countersign agent list).",
        ]
      : []),
    '',
  ].join('\n');
}

function describeNearMiss({ entry, missing }: NearMiss): string[] {
  return [
    `  ${formatWireId(entry?.spiffeId)}  (entry ${entry?.id ?? ''})`,
    ...selectorTexts(missing).map((text) => `    lacks ${text}`),
  ];
}

function rowsOf({ selectors, matching, nearMisses }: ExplainWorkloadResponse): Parameters<typeof printRows>[1] {
  return [
    { what: 'process', selectors: selectorTexts(selectors) },
    ...matching.map(({ id, spiffeId, selectors: needed }) => ({
      what: 'match',
      entryId: id,
      spiffeId: formatWireId(spiffeId),
      selectors: selectorTexts(needed),
    })),
    ...nearMisses.map(({ entry, missing }) => ({
      what: 'near miss',
      entryId: entry?.id,
      spiffeId: formatWireId(entry?.spiffeId),
      missing: selectorTexts(missing),
    })),
  ];
}
