import { boolean, type Decoded, object, optional, string } from '../../core/decode.ts';

/** The schema of `sds` in `agent.yaml`; names and defaults are SPIRE's in camel case. */
export const sdsConfig = optional(
  object({
    defaultSvidName: optional(string(), 'default'),
    defaultBundleName: optional(string(), 'ROOTCA'),
    defaultAllBundlesName: optional(string(), 'ALL'),
    disableSpiffeCertValidation: optional(boolean, false),
  }),
  {
    defaultSvidName: 'default',
    defaultBundleName: 'ROOTCA',
    defaultAllBundlesName: 'ALL',
    disableSpiffeCertValidation: false,
  },
);

/** The resource names that Envoy may ask for, and how it verifies peers. */
export type SdsConfig = Decoded<typeof sdsConfig>;
