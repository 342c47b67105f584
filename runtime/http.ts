import { createServer, type Server } from 'node:http';

import type { Registry } from './metrics.ts';
import type { ListenAddress } from './config-file.ts';

/** What one readiness check found. */
export interface CheckResult {
  readonly ok: boolean;
  /** What is wrong and what to do; also said when all is well, such as `caught up at revision 7`. */
  readonly reason: string;
}

/** The named checks behind `/readyz`. */
export type Checks = Readonly<Record<string, () => CheckResult>>;

/** What {@link listenHttp} serves. */
export interface HttpOptions {
  readonly address: ListenAddress;
  readonly ready: Checks;
  readonly metrics: Registry;
}

/** The health and metrics listener of a process, once it listens. */
export interface HttpListener extends AsyncDisposable {
  readonly port: number;
}

/**
 * Serves `/livez`, `/readyz` and `/metrics`, and nothing else. `/livez` answers 200 while the process turns its event loop;
 * `/readyz` answers 200 or 503 with each check and its reason as JSON.
 */
export async function listenHttp(options: HttpOptions): Promise<HttpListener> {
  // express is loaded here and not at the top: identities are served before health is asked for.
  const { default: express } = await import('express');
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.get('/livez', (_request, response) => {
    response.type('text/plain').send('ok\n');
  });
  app.get('/readyz', (_request, response) => {
    const checks = Object.fromEntries(Object.entries(options.ready).map(([name, check]) => [name, check()]));
    const ready = Object.values(checks).every(({ ok }) => ok);
    response.status(ready ? 200 : 503).json({ ready, checks });
  });
  app.get('/metrics', async (_request, response) => {
    response.type(options.metrics.contentType).send(await options.metrics.metrics());
  });
  app.use((_request, response) => {
    response.status(404).type('text/plain').send('not found; this listener serves /livez, /readyz and /metrics\n');
  });
  return listen(createServer(app), options.address);
}

async function listen(server: Server, address: ListenAddress): Promise<HttpListener> {
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if (address.kind === 'unix') server.listen(address.path, resolve);
    else server.listen(address.port, address.host, resolve);
  });
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : 0,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
