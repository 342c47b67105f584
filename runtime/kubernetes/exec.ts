import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';

import { IdentityError } from '../../core/errors.ts';

/** Where a command runs. */
export interface ExecTarget {
  readonly kubeconfigFile: string;
  /** The file's current context unless given. */
  readonly context?: string | undefined;
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

/** What a command printed and how it ended. */
export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a command in a container, as `kubectl exec` does.
 *
 * @throws IdentityError `unavailable` when the container cannot be reached or the command not started
 */
export async function execInPod(target: ExecTarget, command: readonly string[]): Promise<ExecResult> {
  const { Exec, KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  config.loadFromFile(target.kubeconfigFile);
  if (target.context !== undefined) config.setCurrentContext(target.context);
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const { namespace, pod, container } = target;
  const where = `cannot run a command in ${namespace}/${pod} (container ${container})`;
  const ended = Promise.withResolvers<number>();
  const out = Promise.all([text(stdout), text(stderr)]);
  // Nobody waits for what was printed when the command could not be run.
  out.catch(() => {});
  try {
    const socket = await new Exec(config).exec(namespace, pod, container, [...command], stdout, stderr, null, false, (status) => {
      ended.resolve(exitCodeOf(status));
    });
    // A connection that ends without a status leaves the outcome unknown.
    socket.addEventListener('close', () => ended.reject(new IdentityError('unavailable', `${where}: the connection ended`)));
    const exitCode = await ended.promise;
    stdout.end();
    stderr.end();
    const [printed, complained] = await out;
    return { exitCode, stdout: printed, stderr: complained };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError('unavailable', `${where}: ${why}`, { cause });
  } finally {
    stdout.destroy();
    stderr.destroy();
  }
}

interface ExecStatus {
  readonly status?: string;
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] };
}

function exitCodeOf({ status, details }: ExecStatus): number {
  if (status === 'Success') return 0;
  const code = details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  return code === undefined ? 1 : Number(code);
}
