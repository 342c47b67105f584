import { Agent, request } from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** Where a webhook server is, and by what it is verified. */
export interface AdmissionTarget {
  readonly port: number;
  /** The authorities, PEM: what an API server takes from `caBundle`. */
  readonly caPem: string;
  /** The name that the API server verifies, such as `countersign-controller.countersign-system.svc`. */
  readonly serverName: string;
}

/** What came back: HTTP status, and the body as JSON. */
export interface AdmissionReply {
  readonly status: number;
  readonly body: AdmissionReplyBody;
  /** SHA-256 fingerprint of the certificate that the server showed. */
  readonly fingerprint: string;
}

/** The parts of an AdmissionReview that tests look at. */
export interface AdmissionReplyBody {
  readonly response: {
    readonly uid: string;
    readonly allowed: boolean;
    readonly warnings?: readonly string[];
    readonly status?: {
      readonly code: number;
      readonly reason: string;
      readonly message: string;
      readonly details?: { readonly causes?: readonly { readonly field: string; readonly message: string }[] };
    };
  };
}

/** Asks a webhook server, over TLS verified as an API server does. */
export class AdmissionClient implements Disposable {
  readonly #target: AdmissionTarget;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(target: AdmissionTarget) {
    this.#target = target;
  }

  /** Posts an AdmissionReview as JSON. */
  ask(path: string, review: unknown): Promise<AdmissionReply> {
    return this.send(path, JSON.stringify(review));
  }

  /** Sends any body with any headers. */
  send(
    path: string,
    body: string,
    options: { readonly method?: string; readonly contentType?: string } = {},
  ): Promise<AdmissionReply> {
    const { port, caPem, serverName } = this.#target;
    const { method = 'POST', contentType = 'application/json' } = options;
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          host: '127.0.0.1',
          port,
          path,
          method,
          agent: this.#agent,
          ca: caPem,
          servername: serverName,
          headers: { 'content-type': contentType },
        },
        (response) => {
          const fingerprint = fingerprintOf(response.socket);
          let text = '';
          response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
          // The cast is sound: a test that reads a member which is not there fails on it.
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as AdmissionReplyBody, fingerprint }),
          );
          response.on('error', reject);
        },
      );
      sent.on('error', reject).end(body);
    });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

const fingerprints = new WeakMap<Socket, string>();

/** The certificate of a connection; Node tells it only once. */
function fingerprintOf(socket: Socket): string {
  const known = fingerprints.get(socket);
  if (known !== undefined) return known;
  const shown = socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.fingerprint256 : undefined;
  fingerprints.set(socket, shown ?? 'none');
  return shown ?? 'none';
}

/** A question as an API server asks it. */
export function admissionReview(request: {
  readonly kind: string;
  readonly group?: string;
  readonly operation?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly subResource?: string;
  readonly object?: unknown;
  readonly oldObject?: unknown;
}): Record<string, unknown> {
  const { kind, group = 'countersign.dev', operation = 'CREATE', name = 'web', ...rest } = request;
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
      kind: { group, version: 'v1alpha1', kind },
      resource: { group, version: 'v1alpha1', resource: `${kind.toLowerCase()}s` },
      requestKind: { group, version: 'v1alpha1', kind },
      userInfo: { username: 'admin', groups: ['system:authenticated'] },
      dryRun: false,
      options: { apiVersion: 'meta.k8s.io/v1', kind: 'CreateOptions' },
      operation,
      name,
      ...rest,
    },
  };
}
