import { RESOURCE_KINDS } from '../crds/index.ts';
import { DecodeError } from '../core/decode.ts';
import { isIdentityError } from '../core/errors.ts';
import { ACCEPTED, type Review, type Reviewer } from './admission/review.ts';
import { FederationIndex } from './federation/federation-index.ts';
import type { IdentitySettings } from './identity/settings.ts';
import { staticEntry } from './identity/static-entry.ts';
import type { DeclarationPreview, Problem } from './ports.ts';

/** What reviews are made with. */
export interface ReviewerOptions {
  readonly preview: DeclarationPreview;
  readonly settings: IdentitySettings;
}

/** Who judges objects of each kind before they are stored: by the same code that will reconcile them. */
export function createReviewers({ preview, settings }: ReviewerOptions): Readonly<Record<string, Reviewer>> {
  const reviewers = RESOURCE_KINDS.map((kind): [string, Reviewer] => {
    if (kind.declares === 'identities') {
      return [kind.type.kind, reviewing(async (object) => reviewOf(await preview.dryRun(kind.parse(object))))];
    }
    if (kind.declares === 'entry') {
      return [kind.type.kind, reviewing((object) => (staticEntry(kind.parse(object), settings), ACCEPTED))];
    }
    return [kind.type.kind, reviewing((object) => (new FederationIndex(settings.trustDomain).put(kind.parse(object)), ACCEPTED))];
  });
  return Object.fromEntries(reviewers);
}

function reviewing(review: (object: unknown) => Review | Promise<Review>): Reviewer {
  return async ({ object }) => {
    try {
      return await review(object);
    } catch (error) {
      if (error instanceof DecodeError) {
        const faults = error.faults.map(({ path, message }) => ({ field: path, message }));
        return { faults, warnings: [], retryable: false };
      }
      if (!isIdentityError(error)) throw error;
      return { faults: [faultOf(error.message)], warnings: [], retryable: error.code === 'unavailable' };
    }
  };
}

/** What masks is a warning only: it may be what somebody wants. */
function reviewOf(problems: readonly Problem[]): Review {
  const isWarning = ({ reason }: Problem): boolean => reason === 'Masked';
  return {
    faults: problems.filter((problem) => !isWarning(problem)).map((problem) => faultOf(problem.message, problem.pod)),
    warnings: problems.filter(isWarning).map(({ message, pod }) => `pod ${pod ?? ''}: ${message}`),
    retryable: false,
  };
}

function faultOf(message: string, pod?: string): { readonly field: string; readonly message: string } {
  const [, field = '', rest = message] = /^(spec\.[\w.[\]]+): (.*)$/s.exec(message) ?? [];
  return { field, message: pod === undefined ? rest : `${rest} (pod ${pod})` };
}
