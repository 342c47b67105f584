import { systemClock } from '../../core/clock.ts';
import { parseCall } from '../../policy/documents/call-document.ts';
import { explain } from '../../policy/explain.ts';
import type { Call } from '../../policy/model.ts';
import { connectCa } from '../ca-connection.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { callOfOptions } from '../policy/call-of-options.ts';
import { explanationText } from '../policy/explanation-text.ts';
import { inFile } from '../policy/named-faults.ts';
import { snapshotOfOptions } from '../policy/ca-policies.ts';
import { withRegistrations } from '../policy/registered-call.ts';
import { documentOf } from '../policy/yaml-documents.ts';

/** `countersign policy explain` */
export const explainCall: CommandRun = async (invocation) => {
  const format = invocation.text('output') ?? 'text';
  if (format !== 'text' && format !== 'json') throw usage(invocation.command, `--output ${format} is unknown; use text or json`);
  const call = await completed(invocation, await callOf(invocation));
  const explanation = explain(await snapshotOfOptions(invocation), call);
  invocation.terminal.write(format === 'json' ? `${JSON.stringify(explanation, undefined, 2)}\n` : explanationText(explanation));
  return 0;
};

async function callOf(invocation: Invocation): Promise<Call> {
  const file = invocation.text('call');
  if (file === undefined) return callOfOptions(invocation, systemClock.nowMs());
  const document = await documentOf(await readFileOrInput(invocation, file), file);
  return inFile(file, () => parseCall(document, systemClock.nowMs()));
}

/** With the policies of the CA, what it knows of caller and called holds too. */
async function completed(invocation: Invocation, call: Call): Promise<Call> {
  if (invocation.texts('policies').length > 0) return call;
  using connection = await connectCa(invocation);
  return await withRegistrations(connection, call);
}
