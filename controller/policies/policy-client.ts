import type { Client } from '@connectrpc/connect';
import { IdentityError } from '../../core/errors.ts';
import {
  Policies,
  type ResourceStatus,
  type SimulateResponse,
  type WatchStatusResponse,
} from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { declarationKey } from '../identity/declaration-store.ts';
import type { PolicyResourceName } from './policy-object.ts';

/** A resource as it is at the CA. */
export interface StoredPolicy {
  readonly name: StoredName;
  readonly document: string;
}

/** Any name that the CA may know. */
export interface StoredName {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** A change to judge before it is made. */
export interface ProposedChange {
  readonly set: readonly { readonly name: PolicyResourceName; readonly document: string }[];
  readonly deleted: readonly PolicyResourceName[];
  readonly countsDryRun: boolean;
}

const TIMEOUT_MS = 30_000;
/** Changes that are listed; the totals count all. */
const MOST_CHANGES = 100;

/** The CA's `countersign.policy.v1`. Failures are thrown as IdentityError. */
export class PolicyClient {
  readonly #client: Client<typeof Policies>;

  constructor(connection: Pick<GrpcConnection, 'client'>) {
    this.#client = connection.client(Policies);
  }

  /** Everything, in parts. */
  async *list(signal: AbortSignal): AsyncGenerator<readonly StoredPolicy[]> {
    const parts = this.#client.listResources({}, { signal, timeoutMs: TIMEOUT_MS });
    for await (const { resources } of inTerms(parts)) {
      yield resources.flatMap(({ name, document }) => (name === undefined ? [] : [{ name, document }]));
    }
  }

  /** Puts resources as one change. @returns the revision from which on they are in force */
  async set(resources: readonly StoredPolicy[], signal: AbortSignal): Promise<bigint> {
    const { revision } = await call(this.#client.setResources({ resources: [...resources] }, { signal, timeoutMs: TIMEOUT_MS }));
    return revision;
  }

  /** Removes resources as one change. */
  async delete(names: readonly StoredName[], signal: AbortSignal): Promise<void> {
    await call(this.#client.deleteResources({ names: [...names] }, { signal, timeoutMs: TIMEOUT_MS }));
  }

  /** How the resources stand: all of them, then those whose standing changed. */
  watchStatus(signal: AbortSignal): AsyncIterable<WatchStatusResponse> {
    return inTerms(this.#client.watchStatus({}, { signal }));
  }

  /** What would become of recorded calls. */
  async simulate(change: ProposedChange, options: { signal: AbortSignal; timeoutMs: number }): Promise<SimulateResponse> {
    const { set, deleted, countsDryRun } = change;
    const request = { set: [...set], deleted: [...deleted], countsDryRun, limit: MOST_CHANGES };
    return await call(this.#client.simulate(request, options));
  }
}

/** The key of the resource that a status is about. */
export function keyOfStatus({ name }: ResourceStatus): string {
  return declarationKey(name ?? { kind: '', namespace: '', name: '' });
}

async function call<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw withoutPlace(toIdentityError(error));
  }
}

/** Who reads it wrote a resource and no request: where in the request it stood says nothing to them. */
function withoutPlace(error: IdentityError): IdentityError {
  const message = error.message.replaceAll(/^(?:set|deleted|resources|names)\[\d+\](?:\.(?:document|name)\b)?(?:\.|: )?/gm, '');
  if (message === error.message) return error;
  return new IdentityError(error.code, message, {
    cause: error,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  });
}

async function* inTerms<T>(stream: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* stream;
  } catch (error) {
    throw toIdentityError(error);
  }
}
