import { recordedLine } from '../../policy/documents/recorded-calls.ts';
import type { CommandRun } from '../command.ts';
import { callsOfCa } from '../policy/ca-calls.ts';

/** `countersign policy calls`: what the CA has recorded, one JSON object in each line. */
export const exportCalls: CommandRun = async (invocation) => {
  const calls = await callsOfCa(invocation);
  const sorted = calls.toSorted((one, other) => other.count - one.count);
  for (const each of sorted) invocation.terminal.write(`${recordedLine(each)}\n`);
  return 0;
};
