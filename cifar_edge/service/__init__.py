"""An HTTP service that classifies images: Starlette and uvicorn, within fixed bounds of memory and time."""
