// A call on the workload socket whose caller has been attested, for handlers that are called without a socket.
import type { WorkloadCall } from '../../agent/api/workload-call.ts';
import type { SelectorSet } from '../../agent/cache/selectors.ts';
import { Metadata } from '../../runtime/grpc/metadata.ts';

export function attestedCall(asking: SelectorSet): WorkloadCall {
  const unused = (): never => {
    throw new Error('the test does without it');
  };
  return {
    peer: { pid: process.pid, attest: () => asking, inspect: unused, [Symbol.dispose]: () => {} },
    method: '/test',
    metadata: new Metadata([]),
    deadlineMs: undefined,
    ended: false,
    signal: new AbortController().signal,
    setHeader: unused,
    sendHeaders: unused,
    setTrailer: unused,
    fail: unused,
    onEnd: () => {},
  };
}
