"""The site: the repository's own pages with what they link to, and a reference made from the code.

    python -m scripts.site                  # or `make docs`; into build/docs/html

`pages` takes the documents as they are, `reference` asks the code, `menu` says where a reader finds
what, and Zensical makes HTML of it, strictly: a page that is linked and not there ends the build.
"""
