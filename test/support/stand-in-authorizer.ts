// Decides by policies of a test alone, and keeps what was asked.
import type { Authorizer, Check, Outcome } from '../../agent/authz/check.ts';
import type { Snapshot } from '../../policy/compile/snapshot.ts';
import { decide } from '../../policy/decide.ts';
import { readIpAddress } from '../../policy/match/ip.ts';
import type { Call, Destination, Source, User } from '../../policy/model.ts';
import { normalizeRequest } from '../../policy/normalize/request.ts';

/** What a {@link StandInAuthorizer} decides by; a test may change any of it between calls. */
export interface StandInPolicy {
  readonly snapshot: Snapshot;
  readonly destination: Destination;
  /** What is registered of a caller. */
  readonly registered?: (id: string) => Pick<Source, 'namespace' | 'serviceAccount'>;
  /** Takes the place of the address that the connection came from. */
  readonly address?: string;
  readonly user?: User;
}

/** An authorizer in the image of the agent's, without identities, tokens and relations. */
export class StandInAuthorizer implements Authorizer {
  readonly checks: Check[] = [];
  policy: StandInPolicy;
  /** Answers in place of the policies. */
  fixed: Outcome | undefined;

  constructor(policy: StandInPolicy) {
    this.policy = policy;
  }

  authorize(check: Check): Outcome {
    this.checks.push(check);
    if (this.fixed !== undefined) return this.fixed;
    const { snapshot, destination } = this.policy;
    const decision = decide(snapshot, this.#callOf(check, destination));
    const { verdict, reason } = decision;
    return { verdict, status: verdict === 'allow' ? 200 : 403, headers: new Map(), reason, decision };
  }

  #callOf({ sourceId, sourceAddress, request }: Check, destination: Destination): Call {
    const { registered, address = sourceAddress, user } = this.policy;
    const ip = address === undefined ? undefined : readIpAddress(address);
    return {
      source: {
        ...(sourceId === undefined ? {} : { spiffeId: sourceId, ...registered?.(sourceId.toString()) }),
        ...(ip === undefined ? {} : { address: ip }),
      },
      destination,
      ...(request === undefined ? {} : normalizeRequest(request)),
      ...(user === undefined ? {} : { user }),
      atMs: Date.UTC(2026, 0, 31, 12),
    };
  }
}
