import { constants } from 'node:crypto';
import { createServer, type Server } from 'node:https';

import type { Express, Response } from 'express';

import type { Source } from '../../core/current.ts';
import type { ListenAddress } from '../../runtime/config-file.ts';
import { formatBundleDocument, type Bundle } from '../../spiffe/bundle.ts';
import { discoveryDocument, keysDocument } from './oidc.ts';

/** A certificate and its key, PEM. */
export interface PublicCredentials {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

/** What the public listener serves, and with which certificate. */
export interface PublicListenerOptions {
  readonly address: Extract<ListenAddress, { kind: 'tcp' }>;
  /** The own SVID (`https_spiffe`) or a certificate of the web PKI (`https_web`), as it is replaced. */
  readonly credentials: Source<PublicCredentials>;
  readonly bundle: Source<Bundle>;
  /** Serves the bundle at `/` and `/bundle.json`. */
  readonly bundleEndpoint: boolean;
  /** Serves OIDC discovery and keys for this issuer. */
  readonly jwtIssuer: string | undefined;
}

/** The public listener, once it listens. */
export interface PublicListener extends AsyncDisposable {
  readonly port: number;
}

/**
 * Serves what everybody may read, over TLS and without client authentication (SPIFFE Federation §5.2.1.3): the bundle
 * endpoint, OIDC discovery and the keys of JWT-SVIDs.
 */
export async function listenPublic(options: PublicListenerOptions): Promise<PublicListener> {
  const { default: express } = await import('express');
  const server = createServer(tlsOf(options.credentials.value), publicApp(express(), options));
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  const unsubscribe = options.credentials.subscribe((next) => server.setSecureContext(tlsOf(next)));
  await listening(server, options.address);
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : 0,
    async [Symbol.asyncDispose]() {
      unsubscribe();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function publicApp(app: Express, { bundle, bundleEndpoint, jwtIssuer }: PublicListenerOptions): Express {
  app.disable('x-powered-by');
  if (jwtIssuer !== undefined) {
    const base = new URL(jwtIssuer).pathname.replace(/\/$/, '');
    const discovery = discoveryDocument(jwtIssuer);
    app.get(`${base}/.well-known/openid-configuration`, (_request, response) =>
      sendJson(response, JSON.stringify(discovery), 3600),
    );
    app.get(`${base}/keys`, (_request, response) => sendJson(response, keysDocument(bundle.value), 300));
  }
  if (bundleEndpoint) {
    app.get(['/', '/bundle.json'], (_request, response) => {
      sendJson(response, formatBundleDocument(bundle.value), bundle.value.refreshHintSeconds ?? 300);
    });
  }
  app.use((_request, response) => {
    response.status(404).type('text/plain').send('not found\n');
  });
  return app;
}

function sendJson(response: Response, document: string, maxAgeSeconds: number): void {
  response.set('cache-control', `public, max-age=${maxAgeSeconds}`).type('application/json').send(document);
}

function tlsOf({ certificatePem, privateKeyPem }: PublicCredentials): {
  cert: string;
  key: string;
  minVersion: 'TLSv1.2';
  secureOptions: number;
} {
  return { cert: certificatePem, key: privateKeyPem, minVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_NO_TICKET };
}

async function listening(server: Server, { host, port }: Extract<ListenAddress, { kind: 'tcp' }>): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
}
