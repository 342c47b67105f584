import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import {
  JWTBundlesResponseSchema,
  JWTSVIDResponseSchema,
  type JWTSVIDRequest,
} from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { encodeMessage, type EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import { formatBundleDocument, type Bundle } from '../../spiffe/bundle.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { AgentEntry, WorkloadIdentities } from '../cache/identities.ts';
import type { JwtSvidCache } from '../cache/jwt-svid-cache.ts';
import type { CachedToken } from '../cache/token.ts';
import { sharedProjection, type Projection } from './view-stream.ts';
import { noIdentity } from './workload-call.ts';

/** `FetchJWTBundles`: JWK sets with JWT keys only (Workload API §6.2.2). */
export const jwtBundles: Projection = sharedProjection({
  encode({ bundle, federatedBundles }) {
    const documents = jwkSetsById([bundle, ...federatedBundles.values()]);
    return encodeMessage(JWTBundlesResponseSchema, { bundles: documents });
  },
  refusal: ({ entries }) => (entries.length === 0 ? noIdentity() : undefined),
  isWaiting: () => false,
});

/** JWK sets of the JWT authorities by trust domain ID. */
export function jwkSetsById(bundles: Iterable<Bundle>): Record<string, Uint8Array> {
  const format = (bundle: Bundle): Uint8Array =>
    Buffer.from(formatBundleDocument(bundle, { include: ['jwt'], standardJwks: true }), 'utf8');
  return Object.fromEntries([...bundles].map((bundle) => [bundle.trustDomain.idString, format(bundle)]));
}

/** An answer that was given, with the tokens in it: it is given again while they are fresh. */
interface Answer {
  readonly message: EncodedMessage;
  readonly tokens: readonly CachedToken[];
  readonly generation: number;
}

const MAX_ANSWERS_PER_VIEW = 64;
// Answers to longer requests are not kept.
const MAX_KEY_LENGTH = 4_096;

/** `FetchJWTSVID` (Workload API §6.2.1); answers are encoded once and shared by all callers that look alike. */
export class JwtSvidAnswers {
  readonly #cache: JwtSvidCache;
  readonly #clock: Clock;
  readonly #answers = new WeakMap<WorkloadIdentities, Map<string, Answer>>();

  constructor(cache: JwtSvidCache, clock: Clock) {
    this.#cache = cache;
    this.#clock = clock;
  }

  answer(identities: WorkloadIdentities, request: JWTSVIDRequest): EncodedMessage | Promise<EncodedMessage> {
    const key = `${request.spiffeId}\0${request.audience.join('\0')}`;
    const known = this.#answers.get(identities)?.get(key);
    if (known !== undefined && this.#isFresh(known)) return known.message;
    const entries = entriesFor(identities, request.spiffeId);
    const { generation } = this.#cache;
    const compose = (tokens: readonly CachedToken[]): EncodedMessage => {
      const message = encodeTokens(entries, tokens);
      const isShared = key.length <= MAX_KEY_LENGTH && !entries.some(({ jwtSvidIncludeJti }) => jwtSvidIncludeJti);
      if (isShared) this.#keep(identities, key, { message, tokens, generation });
      return message;
    };
    return Promise.all(entries.map(async (entry) => this.#cache.get(entry, request.audience))).then(compose);
  }

  #isFresh({ tokens, generation }: Answer): boolean {
    return generation === this.#cache.generation && tokens.every(({ lifetime }) => !lifetime.isDue(this.#clock));
  }

  #keep(identities: WorkloadIdentities, key: string, answer: Answer): void {
    let answers = this.#answers.get(identities);
    if (answers === undefined) this.#answers.set(identities, (answers = new Map()));
    if (answers.size >= MAX_ANSWERS_PER_VIEW) answers.clear();
    answers.set(key, answer);
  }
}

/** Refuses a request without audience or with a wrong ID, before anybody is attested. @throws IdentityError `invalid_argument` */
export function checkJwtSvidRequest({ audience, spiffeId }: JWTSVIDRequest): void {
  if (audience.length === 0 || audience.includes('')) throw new IdentityError('invalid_argument', 'audience must be specified');
  if (spiffeId !== '') parseSpiffeId(spiffeId, 'spiffe_id');
}

function entriesFor({ entries }: WorkloadIdentities, spiffeId: string): readonly AgentEntry[] {
  const wanted = spiffeId === '' ? entries : entries.filter((entry) => entry.spiffeId.toString() === spiffeId);
  if (wanted.length === 0) throw noIdentity();
  return wanted;
}

function encodeTokens(entries: readonly AgentEntry[], tokens: readonly CachedToken[]): EncodedMessage {
  const svids = entries.map(({ spiffeId, hint }, index) => ({
    spiffeId: spiffeId.toString(),
    svid: tokens[index]?.token ?? '',
    hint,
  }));
  return encodeMessage(JWTSVIDResponseSchema, { svids });
}
