import { create } from '@bufbuild/protobuf';
import type { Clock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import {
  PermissionDeniedDetails_Reason as Reason,
  PermissionDeniedDetailsSchema,
} from '../../proto/gen/spire/api/types/status_pb.ts';
import type { Logger } from '../../runtime/log.ts';
import type { X509Peer } from '../../runtime/peer.ts';
import { DetailedError } from '../../runtime/wire-errors.ts';
import type { Agent } from '../model.ts';
import type { Registry } from '../registry/registry.ts';
import type { Store } from '../store/store.ts';

export { Reason };

/** A denial that tells an agent what to do about it: `details` hold a PermissionDeniedDetails, as in SPIRE. */
export function agentDenied(reason: Reason, message: string): DetailedError {
  const detail = create(PermissionDeniedDetailsSchema, { reason });
  return new DetailedError('permission_denied', message, { details: [{ desc: PermissionDeniedDetailsSchema, message: detail }] });
}

/** What {@link AgentAccess} needs. */
export interface AgentAccessOptions {
  readonly registry: Registry;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Whether a peer is an agent in good standing: attested, not banned, and with the SVID that was last given to it. */
export class AgentAccess {
  readonly #options: AgentAccessOptions;

  constructor(options: AgentAccessOptions) {
    this.#options = options;
  }

  /**
   * Resolves when the peer may act as an agent; undefined when that is clear at once. An SVID that renewal gave out takes the
   * place of the one before on its first use.
   *
   * @throws DetailedError `permission_denied` with the reason
   */
  check(peer: X509Peer): Promise<void> | undefined {
    const { registry, clock } = this.#options;
    const agent = registry.agents.get(peer.id);
    if (clock.nowMs() > peer.expiresAtMs)
      throw agentDenied(Reason.AGENT_EXPIRED, `agent "${peer.id.toString()}" SVID is expired`);
    if (agent === undefined) throw agentDenied(Reason.AGENT_NOT_ATTESTED, `agent "${peer.id.toString()}" is not attested`);
    if (agent.banned) throw agentDenied(Reason.AGENT_BANNED, `agent "${peer.id.toString()}" is banned`);
    const serial = serialOf(peer);
    if (serial === agent.serialNumber) return undefined;
    if (serial === agent.nextSerialNumber) return this.#activate(agent, serial);
    throw agentDenied(
      Reason.AGENT_NOT_ACTIVE,
      `agent "${peer.id.toString()}" expected to have serial number "${agent.serialNumber}"; has "${serial}"`,
    );
  }

  /** Whether the peer presents the SVID that the agent of its ID was given. */
  isOnRecord(peer: X509Peer): boolean {
    return this.#options.registry.agents.get(peer.id)?.serialNumber === serialOf(peer);
  }

  /**
   * Whether the agent of the peer's ID, in good standing, has by now another SVID than the peer's: one in use, or after the
   * peer's ran out, one that renewal gave out and that it has not used yet.
   */
  isSuperseded(peer: X509Peer): boolean {
    const agent = this.#options.registry.agents.get(peer.id);
    if (agent === undefined || agent.banned) return false;
    const serial = serialOf(peer);
    if (serial !== agent.serialNumber && serial !== agent.nextSerialNumber) return true;
    const nowMs = this.#options.clock.nowMs();
    return serial === agent.serialNumber && nowMs > peer.expiresAtMs && nowMs <= agent.nextExpiresAtMs;
  }

  async #activate(agent: Agent, serial: string): Promise<void> {
    const { store, registry, log } = this.#options;
    try {
      const { revision } = await store.mutate((tx) =>
        tx.updateAgent(agent.id, {
          serialNumber: serial,
          expiresAtMs: agent.nextExpiresAtMs,
          nextSerialNumber: '',
          nextExpiresAtMs: 0,
        }),
      );
      await registry.waitFor(revision);
    } catch (error) {
      // The SVID is one that we gave out: without the store the agent goes on with it, and is moved over later.
      if (!isIdentityError(error, 'unavailable')) throw error;
      log.warn({ err: error, agentId: agent.id.toString() }, 'agent svid not activated');
    }
  }
}

const serials = new WeakMap<X509Peer, string>();

/** The serial number of the peer's certificate as SPIRE writes it, in decimal. */
function serialOf(peer: X509Peer): string {
  let serial = serials.get(peer);
  if (serial === undefined) {
    serial = BigInt(`0x${peer.certificate.serialHex}`).toString();
    serials.set(peer, serial);
  }
  return serial;
}
