import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { Peer, X509Peer } from '../../runtime/peer.ts';
import { DetailedError } from '../../runtime/wire-errors.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { AdminLogins } from '../kubernetes/admin-logins.ts';
import type { AdminLoginConfig } from '../kubernetes/config.ts';
import type { Entry } from '../model.ts';
import type { Registry } from '../registry/registry.ts';
import { ACCESS_TABLE, type Role } from './access-table.ts';
import { agentDenied, Reason, type AgentAccess } from './agent-access.ts';
import { isAgentPath } from './id-conversion.ts';

/** What an {@link Authorizer} needs. */
export interface AuthorizerOptions {
  readonly trustDomain: TrustDomain;
  readonly admins: readonly SpiffeId[];
  readonly logins: AdminLogins;
  readonly registry: Registry;
  readonly agents: AgentAccess;
  readonly clock: Clock;
}

const NOBODY: ReadonlySet<Role> = new Set();

/** Decides each call by the access table, and before that whether its caller is still who it was. */
export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #admins: ReadonlySet<string>;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
    this.#admins = new Set(options.admins.map(String));
  }

  /** For the gRPC server's `authorize`. @throws IdentityError `unauthenticated` or `permission_denied` */
  authorize(call: Call<Peer>): void | Promise<void> {
    const { peer, method } = call;
    const roles = ACCESS_TABLE.get(method) ?? NOBODY;
    if (peer.kind === 'refused') throw peer.reason;
    if (peer.kind === 'x509') this.#checkKnownPeer(peer, { roles, method });
    if (roles.has('anyone') || (peer.kind === 'local' && roles.has('local'))) return undefined;
    if (peer.kind !== 'x509') throw denied(method);
    if (roles.has('admin') && this.#isAdmin(peer.id)) return undefined;
    if (roles.has('controller') && this.#loginOf(peer)?.role === 'controller') return undefined;
    if (roles.has('downstream') && this.downstreamEntry(peer.id) !== undefined) return undefined;
    if (!roles.has('agent')) throw denied(method);
    return this.#checkAgent(peer, method);
  }

  /**
   * Whether the call, a stream that was authorized when it began, may go on. An agent that has moved on to a newer SVID is
   * asked to come again, not to attest again as it would be for a new call.
   *
   * @throws IdentityError as {@link authorize}; `unavailable`
   */
  recheck(call: Call<Peer>): void | Promise<void> {
    const { peer } = call;
    if (peer.kind === 'x509' && this.#options.agents.isSuperseded(peer)) {
      throw new IdentityError('unavailable', 'the agent has a newer SVID; connect again with it');
    }
    return this.authorize(call);
  }

  /**
   * Whether the peer's certificate is good now, and whether it may come at all: it is of this trust domain or a configured admin.
   *
   * @throws IdentityError `unauthenticated`, or `permission_denied` for an agent whose SVID ran out, with that reason
   */
  checkPeer(peer: X509Peer): void {
    const nowMs = this.#options.clock.nowMs();
    if (nowMs > peer.expiresAtMs && isAgentPath(peer.id)) {
      throw agentDenied(Reason.AGENT_EXPIRED, `agent "${peer.id.toString()}" SVID is expired`);
    }
    if (!peer.id.isMemberOf(this.#options.trustDomain) && !this.#admins.has(peer.id.toString())) {
      throw new IdentityError('unauthenticated', `unexpected trust domain in ID "${peer.id.toString()}"`);
    }
    this.#verify(peer, nowMs);
  }

  // Also where anyone may call: whoever is banned is served nothing under that name, on connections from before as well.
  #checkKnownPeer(peer: X509Peer, { roles, method }: { readonly roles: ReadonlySet<Role>; readonly method: string }): void {
    this.checkPeer(peer);
    if (this.#options.registry.agents.get(peer.id)?.banned !== true) return;
    const { message } = denied(method);
    throw roles.has('agent') || roles.has('anyone') ? agentDenied(Reason.AGENT_BANNED, message) : denied(method);
  }

  #verify(peer: X509Peer, nowMs: number): void {
    try {
      peer.verify(this.#options.registry, nowMs);
    } catch (error) {
      // An agent whose authority was revoked can help itself by attesting again, once it knows why it is refused.
      if (!this.#options.agents.isOnRecord(peer)) throw error;
      throw agentDenied(Reason.AGENT_NOT_ACTIVE, `agent "${peer.id.toString()}" SVID is no longer trusted`);
    }
  }

  /**
   * Whether the caller may make, change, delete or sign for the entry of an ID; empty for one that the CA is to choose. What a
   * controller administers begins with the prefix of its login: the entries of other clusters are not its to touch.
   *
   * @throws IdentityError `permission_denied`
   */
  checkEntryId({ peer }: Call<Peer>, id: string): void {
    const login = this.#loginOf(peer);
    if (login?.role !== 'controller' || id.startsWith(login.entryIdPrefix)) return;
    throw new IdentityError(
      'permission_denied',
      `the ID of the entry is ${JSON.stringify(id)}, and this controller may touch those alone that begin with "${login.entryIdPrefix}"; entryIdPrefix of its login in adminLogin says so, and that of the controller must be the same`,
    );
  }

  /**
   * The label by which a controller's policy resources are its own: the prefix of its login, without the dot that ends it in entry
   * IDs. Undefined for a caller who may touch everybody's.
   */
  policyOwner({ peer }: Call<Peer>): string | undefined {
    const login = this.#loginOf(peer);
    return login?.role === 'controller' ? login.entryIdPrefix.replace(/\.$/, '') : undefined;
  }

  /**
   * Whether the caller may make, change, delete or sign for an entry. A controller may not where that would make somebody an
   * admin or a downstream CA, unless its login says so: else whoever holds a controller holds the CA.
   *
   * @throws IdentityError `permission_denied`
   */
  checkEntry({ peer }: Call<Peer>, entry: Pick<Entry, 'spiffeId' | 'admin' | 'downstream'>): void {
    const login = this.#loginOf(peer);
    if (login?.role !== 'controller' || login.allowAdminIdentities) return;
    const { spiffeId, admin, downstream } = entry;
    if (!admin && !downstream && !this.#isAdmin(spiffeId) && this.downstreamEntry(spiffeId) === undefined) return;
    throw new IdentityError(
      'permission_denied',
      `"${spiffeId.toString()}" is the identity of an admin or a downstream CA, which this controller may not touch; allowAdminIdentities of its login in adminLogin allows it`,
    );
  }

  /**
   * Whether the caller may change what is known of another trust domain. A controller may not where an admin is of that trust
   * domain: with a bundle of its own making it could call itself that admin.
   *
   * @throws IdentityError `permission_denied`
   */
  checkTrustDomain({ peer }: Call<Peer>, trustDomain: TrustDomain): void {
    const login = this.#loginOf(peer);
    if (login?.role !== 'controller' || login.allowAdminIdentities) return;
    if (!this.#options.admins.some((admin) => admin.isMemberOf(trustDomain))) return;
    throw new IdentityError(
      'permission_denied',
      `an admin of this CA is of the trust domain "${trustDomain.name}", which this controller may not change; allowAdminIdentities of its login in adminLogin allows it`,
    );
  }

  /** The first entry that makes the ID one of a downstream CA. */
  downstreamEntry(id: SpiffeId): Entry | undefined {
    return this.#entriesOf(id).find(({ downstream }) => downstream);
  }

  /** As what the peer logged in, as far as that is still configured. */
  #loginOf(peer: Peer): AdminLoginConfig | undefined {
    return peer.kind === 'x509' ? this.#options.logins.of(peer.id) : undefined;
  }

  #isAdmin(id: SpiffeId): boolean {
    if (this.#options.logins.of(id)?.role === 'admin') return true;
    return this.#admins.has(id.toString()) || this.#entriesOf(id).some(({ admin }) => admin);
  }

  #entriesOf(bySpiffeId: SpiffeId): readonly Entry[] {
    return this.#options.registry.entries.list({ bySpiffeId }).items;
  }

  #checkAgent(peer: X509Peer, method: string): void | Promise<void> {
    try {
      return this.#options.agents.check(peer);
    } catch (error) {
      // The text is that of every denial; only the details tell an agent why.
      if (!(error instanceof DetailedError)) throw error;
      throw new DetailedError(error.code, denied(method).message, { cause: error, details: error.details });
    }
  }
}

function denied(method: string): IdentityError {
  return new IdentityError('permission_denied', `authorization denied for method ${method}`);
}

/** The SPIFFE ID of a call that only X.509 callers may make. */
export function callerId(call: Call<Peer>): SpiffeId {
  if (call.peer.kind === 'x509') return call.peer.id;
  throw new IdentityError('internal', 'caller ID missing from request context');
}
