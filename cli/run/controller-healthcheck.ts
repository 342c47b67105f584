import { get } from 'node:http';
import { resolve } from 'node:path';

import { sleep, systemClock } from '../../core/clock.ts';
import { parseDuration } from '../../core/duration.ts';
import { IdentityError } from '../../core/errors.ts';
import { loadConfigFile, type ListenAddress } from '../../runtime/config-file.ts';
import type { CommandRun } from '../command.ts';

const RETRY_MS = 100;
const TIMEOUT_MS = 5_000;

/** `countersign controller healthcheck` */
export const healthcheckController: CommandRun = async (invocation) => {
  const { terminal } = invocation;
  const { controllerConfig } = await import('../../controller/config.ts');
  const { listen } = await loadConfigFile(resolve(terminal.cwd, invocation.requiredText('config')), controllerConfig);
  if (listen.http === undefined) {
    throw new IdentityError(
      'failed_precondition',
      'the controller has no listen.http in its configuration, so that it cannot be asked',
    );
  }
  const wait = invocation.text('wait');
  const deadlineMs = systemClock.monotonicMs() + (wait === undefined ? 0 : parseDuration(wait, '--wait').ms);
  for (;;) {
    const failure = await failureOf(listen.http);
    if (failure === undefined) {
      terminal.write('ready\n');
      return 0;
    }
    if (systemClock.monotonicMs() >= deadlineMs) {
      terminal.writeError(`not ready: ${failure}\n`);
      return 1;
    }
    await sleep(systemClock, RETRY_MS, terminal.signal);
  }
};

/** Why it is not ready; undefined when it is. */
function failureOf(address: ListenAddress): Promise<string | undefined> {
  const place = address.kind === 'unix' ? { socketPath: address.path } : { host: here(address.host), port: address.port };
  return new Promise((settle) => {
    const request = get({ ...place, path: '/readyz', timeout: TIMEOUT_MS }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (body += chunk));
      response.on('end', () => settle(response.statusCode === 200 ? undefined : body.trim()));
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', ({ message }) => settle(message));
  });
}

/** Where a listener on every address is reached from here. */
function here(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}
