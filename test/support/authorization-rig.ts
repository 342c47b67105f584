// The agent's enforcement point over HTTP on a real socket, with policies that the test sets and no CA behind them.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthorizer } from '../../agent/authz/authorizer.ts';
import type { DecidedCall } from '../../agent/authz/decided-call.ts';
import type { EntitlementSource } from '../../agent/authz/destinations.ts';
import { EnforcedPolicy } from '../../agent/authz/enforced-policy.ts';
import { SETTINGS, type PolicyDocument } from '../../agent/authz/policy-update.ts';
import { UserCheck } from '../../agent/authz/user-check.ts';
import type { AgentEntry, WorkloadIdentities, X509Identity } from '../../agent/cache/identities.ts';
import { SelectorSet } from '../../agent/cache/selectors.ts';
import { ClientCertificates } from '../../agent/http-authz/client-certificates.ts';
import { HttpAuthorization } from '../../agent/http-authz/http-authorization.ts';
import { listenForCalls } from '../../agent/http-authz/listener.ts';
import { WorkloadAttestation } from '../../agent/workload-attest/attestation.ts';
import { createUnixAttestor } from '../../agent/workload-attest/unix.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import type { DefaultAction, Destination } from '../../policy/model.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import type { RequestAuthentication } from '../../policy/resources/request-authentication.ts';
import type { KeySource } from '../../policy/users/token-issuer.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { createLogger } from '../../runtime/log.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { TestCa, type Issued } from './test-ca.ts';

/** What decides calls to the one destination of the rig. */
export interface RigPolicy {
  readonly policies: readonly object[];
  readonly authentications?: readonly RequestAuthentication[];
  readonly defaultAction?: DefaultAction;
  readonly exchangeIssuer?: string;
}

export interface AuthorizationRigOptions {
  readonly ca?: TestCa;
  readonly federated?: readonly Bundle[];
  readonly metadata?: ReadonlyMap<string, WorkloadMetadata>;
  readonly keys?: KeySource;
  /** The time of decisions; connections and certificates are of the machine's. */
  readonly clock?: Clock;
}

type RigDestination = Destination & { readonly spiffeId: SpiffeId };

const NO_KEYS: KeySource = { keysOf: () => Promise.resolve([]) };

/** The agent's side. */
export class AuthorizationRig implements AsyncDisposable {
  readonly ca: TestCa;
  readonly socket: string;
  readonly decided: DecidedCall[] = [];
  readonly faults: unknown[] = [];
  /** Whether policy is too old. */
  readonly staleness = { value: false };
  readonly policy = new EnforcedPolicy(systemClock, () => []);
  readonly #resources: AsyncDisposableStack;
  readonly #views = new Map<string, Current<WorkloadIdentities>>();
  readonly #metadata: ReadonlyMap<string, WorkloadMetadata>;
  readonly #federated: readonly Bundle[];
  /** Who all that connect are, and what selectors they have beside their own. */
  #destination: RigDestination | undefined;
  #signers: readonly Issued[] = [];

  private constructor(folder: string, options: AuthorizationRigOptions, resources: AsyncDisposableStack) {
    this.ca = options.ca ?? TestCa.create();
    this.socket = join(folder, 'authz.sock');
    this.#resources = resources;
    this.#metadata = options.metadata ?? new Map();
    this.#federated = options.federated ?? [];
  }

  static async start(options: AuthorizationRigOptions = {}): Promise<AuthorizationRig> {
    const resources = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'authz-'));
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const rig = new AuthorizationRig(folder, options, resources);
    await rig.listen(options);
    return rig;
  }

  /** Puts policies in force, for callers that are this destination. */
  async enforce(destination: RigDestination, given: RigPolicy): Promise<void> {
    this.#destination = destination;
    this.#views.clear();
    const settings = {
      defaultAction: given.defaultAction ?? 'deny',
      exchangeIssuer: given.exchangeIssuer,
      exchangeJwksUri: undefined,
    };
    const policies = given.policies.map((each) => parsePolicy(each));
    const next = await this.policy.prepare({
      isSnapshot: true,
      revision: 1n,
      policies: new Map<string, PolicyDocument>([
        ...policies.map((policy, at) => [`policy/${at}`, { kind: 'policy', policy }] as const),
        ...(given.authentications ?? []).map(
          (authentication, at) => [`RequestAuthentication/${at}`, { kind: 'authentication', authentication }] as const,
        ),
      ]),
      workloads: this.#metadata,
      settings: new Map([[SETTINGS, settings]]),
    });
    this.policy.swap(next);
    this.policy.announce();
  }

  /** Gives those that ask an SVID below these authorities. */
  giveSvidBelow(...signers: readonly Issued[]): void {
    this.#signers = signers;
    this.#views.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  private async listen({ keys = NO_KEYS, clock = systemClock }: AuthorizationRigOptions): Promise<void> {
    const log = createLogger({ level: 'fatal', name: 'agent' });
    const attestors = [createUnixAttestor({ clock: systemClock, discoverWorkloadPath: false })];
    const attestation = this.#resources.use(new WorkloadAttestation({ attestors, clock: systemClock, log }));
    const identities: EntitlementSource = { entitlementsOf: (selectors) => this.#view(selectors) };
    const certificates = new ClientCertificates({ identities, clock: systemClock });
    const parts = { identities, policy: this.policy, staleness: this.staleness, keys, clock, log };
    const onDecided = (decided: DecidedCall): void => void this.decided.push(decided);
    const authorizer = createAuthorizer({ ...parts, onDecided });
    const http = new HttpAuthorization({
      authorizer,
      users: new UserCheck({ ...parts, onDecided }),
      clock,
      onDecided,
      readCertificate: (escapedPem, asking) => certificates.idOf(escapedPem, asking),
      onFault: (fault) => this.faults.push(fault),
    });
    this.#resources.use(
      await listenForCalls({
        path: this.socket,
        mode: 0o777,
        accept: (socket) => attestation.accept(socket),
        answer: (request, asking) => http.answer(request, this.#asDestination(asking)),
      }),
    );
  }

  #view(selectors: SelectorSet): Current<WorkloadIdentities> {
    const known = this.#views.get(selectors.key);
    if (known !== undefined) return known;
    const entries = this.#destination === undefined ? [] : [entryOf(this.#destination)];
    const federatedBundles = new Map(this.#federated.map((bundle) => [bundle.trustDomain.name, bundle]));
    const view = new Current<WorkloadIdentities>({
      identities: entries.map((entry) => this.#svidOf(entry)),
      entries,
      pending: 0,
      bundle: this.ca.bundle(),
      federatedBundles,
    });
    this.#views.set(selectors.key, view);
    return view;
  }

  #svidOf(entry: AgentEntry): X509Identity {
    const { chain } = this.ca.issueX509Svid(entry.spiffeId.path, {}, this.#signers);
    const { id: entryId, spiffeId } = entry;
    return {
      entryId,
      spiffeId,
      certificatesDer: chain,
      privateKeyPkcs8Der: new Uint8Array(),
      expiresAtMs: Infinity,
      hint: '',
      entry,
    };
  }

  /** The attested selectors are those of this process; the destination of the test has others in their place. */
  #asDestination(attested: SelectorSet): SelectorSet {
    if (!attested.has(`unix:uid:${process.getuid?.() ?? -1}`)) throw new Error('the caller is not this user');
    const texts = [...(this.#destination?.selectors ?? [])];
    return SelectorSet.of(texts.map((text) => ({ type: text.split(':')[0] ?? '', value: text.slice(text.indexOf(':') + 1) })));
  }
}

function entryOf({ spiffeId, namespace, serviceAccount }: RigDestination): AgentEntry {
  return {
    id: 'entry',
    spiffeId,
    selectors: ['unix:uid:0'],
    federatesWith: [],
    hint: '',
    admin: false,
    downstream: false,
    dnsNames: [],
    x509SvidTtlSeconds: 0,
    jwtSvidTtlSeconds: 0,
    revisionNumber: 0n,
    createdAtSeconds: 0,
    disableX509SvidPrefetch: false,
    jwtSvidIncludeJti: false,
    workload: { ...(namespace === undefined ? {} : { namespace }), ...(serviceAccount === undefined ? {} : { serviceAccount }) },
  };
}
