package main

import (
	"context"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func fetch(ctx context.Context, o options, what string) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	client, err := o.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	line := map[string]any{}
	switch what {
	case "x509":
		update, err := client.FetchX509Context(ctx)
		if err != nil {
			return err
		}
		line = x509Line(update)
	case "jwt":
		return fetchJWT(ctx, o, client)
	case "wit":
		svids, err := client.FetchWITSVIDs(ctx, o.subject)
		if err != nil {
			return err
		}
		set, err := client.FetchWITBundles(ctx)
		if err != nil {
			return err
		}
		line = witLine(svids, set)
	case "bundles":
		set, err := client.FetchX509Bundles(ctx)
		if err != nil {
			return err
		}
		line["bundles"] = x509Bundles(set)
	case "jwtbundles":
		set, err := client.FetchJWTBundles(ctx)
		if err != nil {
			return err
		}
		line["bundles"] = jwtBundles(set)
	case "witbundles":
		set, err := client.FetchWITBundles(ctx)
		if err != nil {
			return err
		}
		line["bundles"] = witBundles(set)
	default:
		return fmt.Errorf("cannot fetch %q", what)
	}
	print(line)
	return nil
}

func fetchJWT(ctx context.Context, o options, client *workloadapi.Client) error {
	params := jwtsvid.Params{Audience: o.audiences()[0], ExtraAudiences: o.audiences()[1:]}
	if o.subject != "" {
		subject, err := spiffeid.FromString(o.subject)
		if err != nil {
			return err
		}
		params.Subject = subject
	}
	svids, err := client.FetchJWTSVIDs(ctx, params)
	if err != nil {
		return err
	}
	set, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	lines := jwtLines(svids)
	for i, svid := range svids {
		if _, err := jwtsvid.ParseAndValidate(svid.Marshal(), set, svid.Audience); err != nil {
			lines[i]["invalid"] = err.Error()
		}
	}
	print(map[string]any{"svids": lines})
	return nil
}

func validate(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	client, err := o.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	svid, err := client.ValidateJWTSVID(ctx, o.token, o.audience)
	if err != nil {
		return err
	}
	print(map[string]any{"svid": jwtLines([]*jwtsvid.SVID{svid})[0]})
	return nil
}
