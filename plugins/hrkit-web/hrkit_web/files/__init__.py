"""Files that come in and go out: uploads, photos, recordings and the results that wait to be fetched."""
