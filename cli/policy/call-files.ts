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
export function callText({ source, destination, request, refused, unrecorded }: Call): string {
  const { spiffeId, namespace, serviceAccount, selectors, port } = destination;
  const account = namespace === undefined || serviceAccount === undefined ? undefined : `${namespace}/${serviceAccount}`;
  const to = account ?? spiffeId?.toString() ?? [...selectors].join(' ');
  const path = unrecorded?.has('request.path') ? ' (path not recorded)' : request?.path;
  const asked = request === undefined ? 'a connection' : `${request.method || 'a request'} ${request.host}${path}`;
  const what = refused === undefined ? asked : `an ambiguous request (${refused})`;
  return `${source.spiffeId?.toString() ?? 'nobody known'} -> ${to}${port === undefined ? '' : `:${port}`} ${what}`;
}
