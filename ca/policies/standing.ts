import type { Clock } from '../../core/clock.ts';
import { Turns } from '../calls/turns.ts';
import type { Agent, PolicyResource } from '../model.ts';
import type { AgentScope } from '../registry/agent-scopes.ts';
import type { RevisedPolicy } from '../registry/policies.ts';
import type { Registry } from '../registry/registry.ts';
import { concernOf } from './concern.ts';
import type { Concern } from './concern.ts';
import type { KnownProgress, PolicyProgress } from './progress.ts';

/** How far a policy resource has come. */
export interface PolicyStanding {
  readonly policy: PolicyResource;
  readonly revision: number;
  /** Agents that have a workload which the resource may concern. */
  readonly nodesConcerned: number;
  /** Those of them that enforce this revision. */
  readonly nodesProgrammed: number;
  /** Those of them that could not put this revision in force. */
  readonly nodesRefused: number;
  /** What one of these said. */
  readonly refusal?: Refusal | undefined;
}

/** Why a node could not put a policy in force. */
export interface Refusal {
  readonly agentId: string;
  /** One line, in the agent's words. */
  readonly reason: string;
}

type Figures = Pick<PolicyStanding, 'nodesProgrammed' | 'nodesRefused' | 'refusal'>;

/** What {@link Standings} works with. */
export interface StandingsOptions {
  readonly registry: Registry;
  readonly progress: PolicyProgress;
  readonly clock: Clock;
}

interface Node {
  readonly agentId: string;
  readonly scope: AgentScope;
  /** What it has in force. */
  readonly progress: KnownProgress;
}

/** Finds which nodes each policy resource concerns, and which of them enforce it. */
export class Standings {
  readonly #options: StandingsOptions;
  readonly #concerns = new WeakMap<PolicyResource, Concern>();

  constructor(options: StandingsOptions) {
    this.#options = options;
  }

  /** By key. Takes turns with the rest of the process. */
  async find(): Promise<ReadonlyMap<string, PolicyStanding>> {
    const { registry, clock } = this.#options;
    const turns = new Turns(clock);
    const breathe = (): Promise<void> | undefined => (turns.isOver ? turns.next() : undefined);
    const nodes = new Nodes();
    for (const agent of registry.agents.list().items) {
      if (this.#isActive(agent)) nodes.add(this.#nodeOf(agent));
      await breathe();
    }
    const records = [...registry.policies.records()];
    const roots = await this.#rootsOf(records, breathe);
    const standings = new Map<string, PolicyStanding>();
    for (const record of records) {
      await breathe();
      const { key, policy, revision } = record;
      const reached = nodes.concernedBy(this.#concernOf(policy), roots.get(policy));
      standings.set(key, { policy, revision, nodesConcerned: reached.length, ...figuresOf(reached, record) });
    }
    return standings;
  }

  #isActive({ banned, expiresAtMs, nextExpiresAtMs }: Agent): boolean {
    return !banned && Math.max(expiresAtMs, nextExpiresAtMs) >= this.#options.clock.nowMs();
  }

  #nodeOf(agent: Agent): Node {
    const { registry, progress } = this.#options;
    const agentId = agent.id.toString();
    return { agentId, scope: registry.scopes.of(agent), progress: progress.of(agentId) };
  }

  #concernOf(policy: PolicyResource): Concern {
    let concern = this.#concerns.get(policy);
    if (concern === undefined) this.#concerns.set(policy, (concern = concernOf(policy)));
    return concern;
  }

  /** For policies that name SPIFFE IDs, the roots of the agents with such entries: one look at all entries for all of these policies. */
  async #rootsOf(
    records: readonly RevisedPolicy[],
    breathe: () => Promise<void> | undefined,
  ): Promise<ReadonlyMap<PolicyResource, ReadonlySet<string>>> {
    const naming = records.flatMap(({ policy }) => {
      const concern = this.#concernOf(policy);
      return concern.kind === 'entries' ? [{ policy, test: concern.test }] : [];
    });
    if (naming.length === 0) return new Map();
    const tests = naming.map(({ test }) => test);
    const found = await this.#options.registry.scopes.rootsAbove(tests, breathe);
    return new Map(naming.map(({ policy }, index) => [policy, found[index] ?? new Set<string>()]));
  }
}

/** Nodes with entries, by what concerns them. */
class Nodes {
  readonly #all: Node[] = [];
  readonly #byNamespace = new Map<string, Node[]>();

  add(node: Node): void {
    if (node.scope.namespaces.size === 0) return;
    this.#all.push(node);
    for (const namespace of node.scope.namespaces) {
      const group = this.#byNamespace.get(namespace);
      if (group === undefined) this.#byNamespace.set(namespace, [node]);
      else group.push(node);
    }
  }

  concernedBy(concern: Concern, roots: ReadonlySet<string> | undefined): readonly Node[] {
    if (concern.kind === 'everyone') return this.#all;
    if (concern.kind === 'entries') return this.#all.filter(({ scope }) => scope.roots.some((root) => roots?.has(root) === true));
    const [only] = concern.names;
    if (concern.names.length === 1 && only !== undefined) return this.#byNamespace.get(only) ?? [];
    return this.#all.filter(({ scope }) => concern.names.some((name) => scope.namespaces.has(name)));
  }
}

function figuresOf(nodes: readonly Node[], { key, revision }: RevisedPolicy): Figures {
  let nodesProgrammed = 0;
  let nodesRefused = 0;
  let refusal: Refusal | undefined;
  for (const { agentId, progress } of nodes) {
    if (progress.refused[key] === revision) {
      nodesRefused += 1;
      const reason = progress.reasons?.[key];
      if (reason !== undefined) refusal ??= { agentId, reason };
    } else if (progress.revision >= revision) nodesProgrammed += 1;
  }
  return { nodesProgrammed, nodesRefused, refusal };
}
