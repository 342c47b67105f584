import type { MessageInitShape } from '@bufbuild/protobuf';

import type { Source } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import {
  SubscribeToJWTBundlesResponseSchema,
  SubscribeToX509BundlesResponseSchema,
  SubscribeToX509SVIDsResponseSchema,
  type DelegatedIdentity,
  type FetchJWTSVIDsResponseSchema,
} from '../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts';
import { encodeMessage, type EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { BundleSet } from '../cache/bundle-set.ts';
import type { AgentEntry, IdentityView, WorkloadIdentities } from '../cache/identities.ts';
import type { JwtSvidCache } from '../cache/jwt-svid-cache.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { Delegates, type DelegateOptions } from './delegate.ts';
import { jwkSetsById } from './jwt-profile.ts';
import { sharedProjection, ViewStream, type Projection } from './view-stream.ts';
import { noIdentity, type WorkloadCall } from './workload-call.ts';
import { authoritiesById } from './x509-profile.ts';

/** What the delegated identity API serves from. */
export interface DelegatedIdentityOptions extends DelegateOptions {
  readonly jwtSvids: JwtSvidCache;
}

/**
 * SPIRE's delegated identity API (`spire.api.agent.delegatedidentity.v1`), on the private socket: an authorized delegate gets the
 * identities of other workloads. It has to make sure itself that the selectors or the pid it names are the workload's.
 */
export function delegatedIdentity(options: DelegatedIdentityOptions): ServiceHandlers<typeof DelegatedIdentity, Workload> {
  const { cache, jwtSvids } = options;
  const delegates = new Delegates(options);
  const stillAuthorized = (delegate: IdentityView) => (): IdentityError | undefined => delegates.refusal(delegate);
  const bundleStream = (call: WorkloadCall, encode: (bundles: readonly Bundle[]) => EncodedMessage) =>
    delegates.authorize(
      call,
      (delegate) => new BundleStream({ bundles: cache.bundles, encode, call, refusal: stillAuthorized(delegate) }),
    );

  return {
    subscribeToX509SVIDs: (request, call) =>
      delegates.authorize(call, async (delegate) => {
        const view = cache.identitiesFor(await delegates.selectorsOf(request));
        return ViewStream.open(view, { ...x509SvidsWithKeys, refusal: stillAuthorized(delegate) }, call);
      }),

    subscribeToX509Bundles: (_request, call) =>
      bundleStream(call, (bundles) =>
        encodeMessage(SubscribeToX509BundlesResponseSchema, { caCertificates: authoritiesById(bundles) }),
      ),
    subscribeToJWTBundles: (_request, call) =>
      bundleStream(call, (bundles) => encodeMessage(SubscribeToJWTBundlesResponseSchema, { bundles: jwkSetsById(bundles) })),

    fetchJWTSVIDs(request, call) {
      const { audience } = request;
      if (audience.length === 0) throw new IdentityError('invalid_argument', 'audience must be specified');
      return delegates.authorize(call, async () => {
        const view = cache.entitlementsOf(await delegates.selectorsOf(request));
        const entries = view.value.entries.filter(isForDelegates);
        if (entries.length === 0) throw noIdentity();
        return { svids: await Promise.all(entries.map((entry) => fetchJwtSvid(jwtSvids, entry, audience))) };
      });
    },
  };
}

// Identities with rights over the CA are never given to a delegate, as in SPIRE.
function isForDelegates({ admin, downstream }: AgentEntry): boolean {
  return !admin && !downstream;
}

type JwtSvid = NonNullable<MessageInitShape<typeof FetchJWTSVIDsResponseSchema>['svids']>[number];

async function fetchJwtSvid(jwtSvids: JwtSvidCache, entry: AgentEntry, audience: readonly string[]): Promise<JwtSvid> {
  const { token, issuedAtMs, expiresAtMs } = await jwtSvids.get(entry, audience);
  return { token, id: wireId(entry), hint: entry.hint, issuedAt: seconds(issuedAtMs), expiresAt: seconds(expiresAtMs) };
}

const x509SvidsWithKeys: Projection = sharedProjection({
  encode: encodeX509Svids,
  refusal: () => undefined,
  isWaiting: ({ pending }) => pending > 0,
});

function encodeX509Svids({ identities, federatedBundles }: WorkloadIdentities): EncodedMessage {
  const x509Svids = identities
    .filter(({ entry }) => isForDelegates(entry))
    .map(({ entry, certificatesDer, expiresAtMs, hint, privateKeyPkcs8Der: x509SvidKey }) => ({
      x509Svid: { id: wireId(entry), certChain: [...certificatesDer], expiresAt: seconds(expiresAtMs), hint },
      x509SvidKey,
    }));
  const federatesWith = [...federatedBundles.values()].map(({ trustDomain }) => trustDomain.idString).sort();
  return encodeMessage(SubscribeToX509SVIDsResponseSchema, { x509Svids, federatesWith });
}

function wireId({ spiffeId }: AgentEntry): { readonly trustDomain: string; readonly path: string } {
  return { trustDomain: spiffeId.trustDomain.name, path: spiffeId.path };
}

function seconds(ms: number): bigint {
  return BigInt(Math.floor(ms / 1000));
}

interface BundleStreamOptions {
  readonly bundles: BundleSet;
  readonly encode: (bundles: readonly Bundle[]) => EncodedMessage;
  readonly call: WorkloadCall;
  readonly refusal: () => IdentityError | undefined;
}

/** All bundles that the agent knows, now and after each change, for as long as the caller is an authorized delegate. */
class BundleStream implements Source<EncodedMessage> {
  readonly #options: BundleStreamOptions;

  constructor(options: BundleStreamOptions) {
    this.#options = options;
  }

  get value(): EncodedMessage {
    const { bundles, encode } = this.#options;
    return encode([bundles.own, ...bundles.federated.values()]);
  }

  subscribe(listener: (value: EncodedMessage) => void): () => void {
    const { bundles, call, refusal } = this.#options;
    return bundles.revision.subscribe(() => {
      const refused = refusal();
      if (refused === undefined) listener(this.value);
      else call.fail(refused);
    });
  }
}
