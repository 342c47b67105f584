import { createHash } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { normalizeSelectors, policyResourceKey, selectorText } from '../model.ts';
import type { Agent, AgentChange, Authority, AuthorityKind, EntryChange, FederationRelationship, NewEntry } from '../model.ts';
import type { AgentProgress, PolicyResource, ResourceKind, Resources } from '../model.ts';
import { authorityName } from './codec.ts';
import { numberIn } from './database.ts';
import type { FeedOutcome, FeedTransaction } from './database.ts';
import { EntryMutations } from './entry-mutations.ts';
import { ResourceRows } from './resource-rows.ts';
import type { Mutation, PolicyKey } from './store.ts';

/** The operations of one transaction over the rows it collects. */
export class Transaction implements Mutation {
  readonly #transaction: FeedTransaction;
  readonly #rows: ResourceRows;
  readonly #entries: EntryMutations;
  readonly #nowSeconds: number;
  #wroteTokens = false;

  constructor(transaction: FeedTransaction, nowMs: number) {
    this.#transaction = transaction;
    this.#nowSeconds = Math.floor(nowMs / 1000);
    this.#rows = new ResourceRows(transaction, nowMs);
    this.#entries = new EntryMutations(this.#rows, this.#nowSeconds);
  }

  /** Sends out what was written. */
  async finish<T>(value: T): Promise<FeedOutcome<{ value: T; revision: number }>> {
    const nextPosition = await this.#rows.flush();
    const { revision } = this.#transaction;
    if (nextPosition !== undefined) return { value: { value, revision }, commit: { nextPosition } };
    if (this.#wroteTokens) return { value: { value, revision }, commit: { nextPosition: this.#transaction.nextPosition } };
    return { value: { value, revision: revision - 1 }, commit: undefined };
  }

  createEntry = (entry: NewEntry) => this.#entries.create(entry);
  createEntries = (entries: readonly NewEntry[]) => this.#entries.createAll(entries);
  getEntry = (id: string) => this.#entries.get(id);
  getEntries = (ids: readonly string[]) => this.#entries.getAll(ids);
  updateEntry = (id: string, change: EntryChange) => this.#entries.update(id, change);
  deleteEntry = (id: string) => this.#entries.delete(id);

  getAgent = (id: SpiffeId) => this.#rows.get('agent', id.toString());

  async putAgent(agent: Agent): Promise<Agent> {
    const before = await this.getAgent(agent.id);
    const after = { ...agent, selectors: normalizeSelectors(agent.selectors) };
    const name = agent.id.toString();
    if (before === undefined || !sameSelectors(before, after)) this.#rows.keepFormer('agent', name);
    // Before it was made, no node alias selected it.
    if (before === undefined) this.#rows.putFormer('agent', { ...after, selectors: [] });
    this.#rows.put('agent', after);
    return after;
  }

  async updateAgent(id: SpiffeId, change: AgentChange): Promise<Agent> {
    return this.putAgent({ ...(await this.#existing('agent', id.toString())), ...change, id });
  }

  async deleteAgent(id: SpiffeId): Promise<Agent> {
    const name = id.toString();
    if ((await this.#rows.get('progress', name)) !== undefined) this.#rows.delete('progress', name);
    return this.#delete('agent', name);
  }

  async createJoinToken(token: string, expiresAtSeconds: number): Promise<void> {
    const { sql } = this.#transaction;
    const insert = 'INSERT INTO join_token (sha256, expires_at_seconds) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING sha256';
    const inserted = await sql.query(insert, [tokenHash(token), expiresAtSeconds]);
    if (inserted.length === 0) throw new IdentityError('already_exists', 'this join token exists already; choose another');
    this.#wroteTokens = true;
  }

  async redeemJoinToken(token: string): Promise<void> {
    const { sql } = this.#transaction;
    const [row] = await sql.query('DELETE FROM join_token WHERE sha256 = $1 RETURNING expires_at_seconds', [tokenHash(token)]);
    if (row === undefined)
      throw new IdentityError('not_found', 'join token does not exist or was used already; create a new one');
    this.#wroteTokens = true;
    if (numberIn(row, 'expires_at_seconds') > this.#nowSeconds) return;
    throw new IdentityError('failed_precondition', 'join token expired; create a new one');
  }

  getAuthority = (kind: AuthorityKind, id: string) => this.#rows.get('authority', authorityName(kind, id));

  async putAuthority(authority: Authority): Promise<void> {
    await this.#rows.load('authority', [authorityName(authority.kind, authority.id)]);
    this.#rows.put('authority', authority);
  }

  deleteAuthority = (kind: AuthorityKind, id: string) => this.#delete('authority', authorityName(kind, id));

  getBundle = (trustDomain: TrustDomain) => this.#rows.get('bundle', trustDomain.name);

  createBundle = (bundle: Bundle) => this.#create('bundle', bundle.trustDomain.name, bundle);

  async putBundle(bundle: Bundle): Promise<void> {
    await this.#rows.load('bundle', [bundle.trustDomain.name]);
    this.#rows.put('bundle', bundle);
  }

  async deleteBundle(trustDomain: TrustDomain, mode: 'restrict' | 'dissociate' | 'delete'): Promise<void> {
    await this.#existing('bundle', trustDomain.name);
    const entries = await this.#entries.federatingWith(trustDomain);
    if (mode === 'restrict' && entries.length > 0) throw bundleInUse(entries.length);
    for (const { id, federatesWith } of entries) {
      if (mode === 'delete') await this.deleteEntry(id);
      else await this.updateEntry(id, { federatesWith: federatesWith.filter((each) => !each.equals(trustDomain)) });
    }
    this.#rows.delete('bundle', trustDomain.name);
  }

  getRelationship = (trustDomain: TrustDomain) => this.#rows.get('relationship', trustDomain.name);

  createRelationship = (relationship: FederationRelationship) =>
    this.#create('relationship', relationship.trustDomain.name, relationship);

  async updateRelationship(
    trustDomain: TrustDomain,
    change: Partial<Omit<FederationRelationship, 'trustDomain'>>,
  ): Promise<FederationRelationship> {
    const relationship = { ...(await this.#existing('relationship', trustDomain.name)), ...change };
    this.#rows.put('relationship', relationship);
    return relationship;
  }

  async deleteRelationship(trustDomain: TrustDomain): Promise<void> {
    await this.#delete('relationship', trustDomain.name);
  }

  getPolicy = (key: PolicyKey) => this.#rows.get('policy', policyResourceKey(key));

  async getPolicies(keys: readonly PolicyKey[]): Promise<readonly (PolicyResource | undefined)[]> {
    await this.#rows.load('policy', keys.map(policyResourceKey));
    return Promise.all(keys.map(this.getPolicy));
  }

  async putPolicies(policies: readonly PolicyResource[]): Promise<void> {
    await this.#rows.load('policy', policies.map(policyResourceKey));
    for (const policy of policies) {
      const before = await this.getPolicy(policy);
      if (before?.document !== policy.document || before.generation !== policy.generation) this.#rows.put('policy', policy);
    }
  }

  async deletePolicies(keys: readonly PolicyKey[]): Promise<void> {
    await this.#rows.load('policy', keys.map(policyResourceKey));
    for (const key of keys) {
      if ((await this.getPolicy(key)) !== undefined) this.#rows.delete('policy', policyResourceKey(key));
    }
  }

  async putProgress(progress: readonly AgentProgress[]): Promise<void> {
    const names = progress.map(({ agentId }) => agentId.toString());
    await this.#rows.load('agent', names);
    await this.#rows.load('progress', names);
    for (const each of progress) {
      const name = each.agentId.toString();
      const before = await this.#rows.get('progress', name);
      const isNew = before === undefined || before.revision < each.revision;
      const isOther = isNew || (before.revision === each.revision && !sameRefusals(before, each));
      if (isOther && (await this.getAgent(each.agentId)) !== undefined) this.#rows.put('progress', each);
    }
  }

  async #create<K extends ResourceKind>(kind: K, name: string, value: Resources[K]): Promise<void> {
    if ((await this.#rows.get(kind, name)) !== undefined) throw new IdentityError('already_exists', `${kind} already exists`);
    this.#rows.put(kind, value);
  }

  async #delete<K extends ResourceKind>(kind: K, name: string): Promise<Resources[K]> {
    const value = await this.#existing(kind, name);
    this.#rows.delete(kind, name);
    return value;
  }

  async #existing<K extends ResourceKind>(kind: K, name: string): Promise<Resources[K]> {
    const value = await this.#rows.get(kind, name);
    if (value === undefined) throw new IdentityError('not_found', `${kind} not found`);
    return value;
  }
}

function sameRefusals(a: AgentProgress, b: AgentProgress): boolean {
  const names = Object.keys(a.refused);
  return names.length === Object.keys(b.refused).length && names.every((name) => a.refused[name] === b.refused[name]);
}

function sameSelectors(a: Agent, b: Agent): boolean {
  return a.selectors.map(selectorText).join('\n') === b.selectors.map(selectorText).join('\n');
}

function bundleInUse(count: number): IdentityError {
  const message = `${count} ${count === 1 ? 'entry federates' : 'entries federate'} with this trust domain; choose dissociate or delete`;
  return new IdentityError('failed_precondition', message);
}

/** Join tokens are stored as SHA-256 only: who reads the store cannot use them. */
function tokenHash(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
