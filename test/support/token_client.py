# A client of the token endpoint with nothing but Python's own library: mTLS with an X.509-SVID, then the token exchange.
# Arguments: port, certificate chain, private key, roots of the server; the form on stdin. Prints the answer as JSON.
import ssl
import sys
import urllib.request

port, chain, key, roots = sys.argv[1:]
context = ssl.create_default_context(cafile=roots)
# An SVID names its workload, not its host.
context.check_hostname = False
context.load_cert_chain(chain, key)
request = urllib.request.Request(
    f"https://127.0.0.1:{port}/oauth2/token",
    data=sys.stdin.buffer.read(),
    headers={"Content-Type": "application/x-www-form-urlencoded"},
)
with urllib.request.urlopen(request, context=context, timeout=20) as answer:
    sys.stdout.write(answer.read().decode())
