"""What a service built on py-spiffe does; prints one JSON object a line.

py_workload.py ADDRESS x509|jwt|validate|bundles|jwtbundles|watch [AUDIENCE [TOKEN]]
"""

import json
import sys
import threading

from spiffe import WorkloadApiClient


def show(**fields):
    print(json.dumps(fields), flush=True)


def svid_fields(svid):
    return {
        "id": str(svid.spiffe_id),
        "chain": len(svid.cert_chain),
        "keyMatches": svid.private_key.public_key() == svid.leaf.public_key(),
    }


def run(address, command, audience, token):
    with WorkloadApiClient(address) as client:
        if command == "x509":
            show(svids=[svid_fields(svid) for svid in client.fetch_x509_svids()])
        elif command == "bundles":
            bundles = client.fetch_x509_bundles()
            show(bundles={str(bundle.trust_domain): len(bundle.x509_authorities) for bundle in bundles.bundles})
        elif command == "jwt":
            svids = client.fetch_jwt_svids({audience})
            show(svids=[{"id": str(svid.spiffe_id), "audience": sorted(svid.audience), "token": svid.token} for svid in svids])
        elif command == "validate":
            svid = client.validate_jwt_svid(token, audience)
            show(id=str(svid.spiffe_id))
        elif command == "jwtbundles":
            bundles = client.fetch_jwt_bundles()
            show(bundles={str(bundle.trust_domain): sorted(bundle.jwt_authorities) for bundle in bundles.bundles})
        elif command == "watch":
            client.stream_x509_contexts(
                on_success=lambda context: show(svids=[svid_fields(svid) for svid in context.x509_svids]),
                on_error=lambda error: show(error=str(error)),
            )
            threading.Event().wait()


if __name__ == "__main__":
    arguments = sys.argv[1:] + [""] * 4
    run(*arguments[:4])
