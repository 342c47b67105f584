import { parseRecordedCalls } from '../../policy/documents/recorded-calls.ts';
import type { Call } from '../../policy/model.ts';
import type { RecordedCall } from '../../policy/simulate.ts';
import type { Invocation } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { inFile } from './named-faults.ts';

/** Reads a file of recorded calls. @throws IdentityError `invalid_argument` that names file, line and field */
export async function readRecordedCalls(invocation: Invocation, file: string): Promise<readonly RecordedCall[]> {
  const text = await readFileOrInput(invocation, file);
  return inFile(file, () => parseRecordedCalls(text));
}

/** A call in one line: who calls whom, and for what. */
export function callText({ source, destination, request }: Call): string {
  const { spiffeId, namespace, serviceAccount, selectors, port } = destination;
  const account = namespace === undefined || serviceAccount === undefined ? undefined : `${namespace}/${serviceAccount}`;
  const to = account ?? spiffeId?.toString() ?? [...selectors].join(' ');
  const what = request === undefined ? 'a connection' : `${request.method} ${request.host}${request.path}`;
  return `${source.spiffeId?.toString() ?? 'nobody known'} -> ${to}${port === undefined ? '' : `:${port}`} ${what}`;
}
